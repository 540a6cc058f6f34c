"""Which combinations of f's answers tell most of the attributes, learnt once on public people."""

from __future__ import annotations

from facecrafter.crafter.reduced_rank import ReducedRank
from lightning_modules.defences.public_answers import PublicAnswers


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
