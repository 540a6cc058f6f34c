"""Which few words come nearest to f's answers, learnt once on public people."""

from __future__ import annotations

from facecrafter.crafter.codebook import Codebook
from lightning_modules.defences.public_answers import PublicAnswers


class AnswersCodebook(PublicAnswers):
    """Finds the few words that come nearest to f's answers to raw features of public people.

    See `facecrafter.crafter.codebook.Codebook`, which is its `network`.

    Args:
        encoder, image_size, pictures: see PublicAnswers.
        bits: of the largest codebook, of 2^bits words; those of fewer bits are found on the way to it.

    Raises:
        ValueError: `bits` is not from 1 to `facecrafter.crafter.codebook.MOST`.
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
