"""What of f's answers is kept, learnt once from those to public people: some combinations, or a few words."""

from __future__ import annotations

import torch
from torch import Tensor

from facecrafter.crafter.codebook import Codebook
from facecrafter.crafter.reduced_rank import ReducedRank
from facecrafter.nets.through_head import LOGITS
from lightning_modules.artifacts import FeatureReader
from lightning_modules.checks import require_public_people
from lightning_modules.training import ClosedForm, SeededBatches


class PublicAnswers(ClosedForm, SeededBatches, FeatureReader):
    """Learns in one epoch from f's answers to raw features of public people. A subclass has a `network`.

    Args:
        encoder: artifact folder of the target network.
        image_size: side of the images.
        pictures: at most so many are learnt from, drawn by the run's seed.

    Raises:
        ValueError: there are to be fewer than two pictures.
    """

    def __init__(self, encoder: str, image_size: int, pictures: int = 8192) -> None:
        if pictures < 2:
            raise ValueError(f"pictures={pictures} must be at least 2")
        super().__init__(encoder, {LOGITS: 1.0})
        self.answers = torch.Size(self.shape_read(image_size)).numel()
        self.pictures = pictures

    def setup(self, stage: str) -> None:
        """Refuses private people."""
        require_public_people(self, stage, "what is kept of answers")

    def drawn_answers(self) -> tuple[Tensor, Tensor]:
        """f's answers (N, A) to at most `pictures` of the trainer's data, and their attributes (N, Y)."""
        answers, attributes = [], []
        for batch in self.drawn(self.pictures):
            answers.append(self.read(self.raw_features_of(batch)).flatten(1))
            attributes.append(batch["attributes"])
        return torch.cat(answers), torch.cat(attributes)


class ReducedAnswers(PublicAnswers):
    """Finds the combinations of f's answers to raw features that tell most of public people's attributes.

    In closed form; see `facecrafter.crafter.reduced_rank.ReducedRank`, which is its `network`.

    Args:
        encoder, image_size, pictures: see PublicAnswers.
    """

    VERSION = 1

    def __init__(self, encoder: str, image_size: int, pictures: int = 8192) -> None:
        super().__init__(encoder, image_size, pictures)
        self.network = ReducedRank(self.answers)

    def solve(self) -> None:
        """Find the combinations.

        Raises:
            ValueError: none of f's answers varies from one picture to the next.
        """
        shares = self.network.learn(*self.drawn_answers())
        self.log("train/told", shares.sum(), prog_bar=True)  # of the attributes' variance, by all of them


class AnswersCodebook(PublicAnswers):
    """Finds the few words that come nearest to f's answers to raw features of public people.

    See `facecrafter.crafter.codebook.Codebook`, which is its `network`.

    Args:
        encoder, image_size, pictures: see PublicAnswers.
        bits: of the largest codebook, of 2^bits words; those of fewer bits are found on the way to it.

    Raises:
        ValueError: there is to be no bit.
    """

    VERSION = 1

    def __init__(self, encoder: str, image_size: int, bits: int = 10, pictures: int = 8192) -> None:
        super().__init__(encoder, image_size, pictures)
        self.network = Codebook(self.answers, bits)

    def solve(self) -> None:
        """Find the words.

        Raises:
            ValueError: none of f's answers varies from one picture to the next.
        """
        shares = self.network.learn(self.drawn_answers()[0])
        self.log("train/told", shares[-1], prog_bar=True)  # of the answers' variance, by the largest
