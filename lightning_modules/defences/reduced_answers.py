"""Which combinations of f's answers tell most of the attributes, learnt once on public people."""

from __future__ import annotations

import torch
from torch import Tensor

from facecrafter.crafter.reduced_rank import ReducedRank
from facecrafter.nets.through_head import LOGITS
from lightning_modules.artifacts import FeatureReader
from lightning_modules.checks import require_public_people
from lightning_modules.training import ClosedForm, SeededBatches


class ReducedAnswers(ClosedForm, SeededBatches, FeatureReader):
    """Finds the combinations of f's answers to raw features that tell most of public people's attributes.

    Learnt in one epoch, in closed form; see `facecrafter.crafter.reduced_rank.ReducedRank`, which is its
    `network`.

    Args:
        encoder: artifact folder of the target network.
        image_size: side of the images.
        pictures: at most so many are learnt from, drawn by the run's seed.

    Raises:
        ValueError: there are to be fewer than two pictures.
    """

    VERSION = 1

    def __init__(self, encoder: str, image_size: int, pictures: int = 8192) -> None:
        if pictures < 2:
            raise ValueError(f"pictures={pictures} must be at least 2")
        super().__init__(encoder, {LOGITS: 1.0})
        self.network = ReducedRank(torch.Size(self.shape_read(image_size)).numel())
        self.pictures = pictures

    def setup(self, stage: str) -> None:
        """Refuses private people."""
        require_public_people(self, stage, "a reduction of answers")

    def solve(self) -> None:
        """Find the combinations.

        Raises:
            ValueError: none of f's answers varies from one picture to the next.
        """
        shares = self.network.learn(*self._drawn())
        self.log("train/told", shares.sum(), prog_bar=True)  # of the attributes' variance, by all of them

    def _drawn(self) -> tuple[Tensor, Tensor]:
        """f's answers (N, A) to at most `pictures` of the trainer's data, and their attributes (N, Y)."""
        answers, attributes = [], []
        for batch in self.drawn(self.pictures):
            answers.append(self.read(self.raw_features_of(batch)).flatten(1))
            attributes.append(batch["attributes"])
        return torch.cat(answers), torch.cat(attributes)
