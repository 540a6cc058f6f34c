"""What tells people apart in a feature, learnt once on public people, for defences that take it out."""

from __future__ import annotations

import torch
from torch import Tensor

from facecrafter.crafter.erasure import Eraser
from lightning_modules.artifacts import FeatureReader
from lightning_modules.checks import require_public_people
from lightning_modules.training import ClosedForm, SeededBatches


class IdentityEraser(ClosedForm, SeededBatches, FeatureReader):
    """Finds the directions of raw features in which public people differ, and no face recogniser is needed.

    Learnt in one epoch, in closed form. People who have a single picture say nothing about what stays of a
    person from one to the next, and are left out.

    Args:
        encoder: artifact folder of the target network.
        image_size: side of the images.
        rank: directions that are erased: more of them hide more people, and leave less to tasks that nobody
            knew.
        shrinkage: how much is thought of directions in which features spread little, in units of the mean
            variance of an element; see `facecrafter.crafter.erasure.Eraser.learn`.
        pictures: at most so many are learnt from, drawn by the run's seed. Time grows with the cube of their
            number or of a feature's elements, whichever are fewer.
    """

    VERSION = 2

    def __init__(
        self,
        encoder: str,
        image_size: int,
        rank: int = 16,
        shrinkage: float = 1.0,
        pictures: int = 8192,
    ) -> None:
        if rank < 1 or shrinkage < 0 or pictures < 2:
            raise ValueError(
                f"rank={rank} must be at least 1, shrinkage={shrinkage} not negative and "
                f"pictures={pictures} at least 2"
            )
        super().__init__(encoder)
        self.network = Eraser(torch.Size(self.shape_read(image_size)).numel(), rank)
        self.shrinkage, self.pictures = shrinkage, pictures

    def setup(self, stage: str) -> None:
        """Refuses private people."""
        require_public_people(self, stage, "an eraser")

    def solve(self) -> None:
        """Find the directions.

        Raises:
            ValueError: too few people have more than one picture.
        """
        features, people = self._drawn()
        _, person, count = torch.unique(people, return_inverse=True, return_counts=True)
        several = count[person] > 1
        if several.sum() <= self.network.rank:
            raise ValueError(
                f"{int(several.sum())} pictures show people who have several, too few for "
                f"rank={self.network.rank}: lower it, or raise pictures"
            )
        shares = self.network.learn(features[several], people[several], self.shrinkage)
        self.log("train/largest_share", shares[0], prog_bar=True)
        self.log("train/smallest_share", shares[-1])

    def _drawn(self) -> tuple[Tensor, Tensor]:
        """Features (N, n) of at most `pictures` of the trainer's data, and whom they show (N,)."""
        features, people = [], []
        for batch in self.drawn(self.pictures):
            features.append(self.raw_features_of(batch).flatten(1))
            people.append(batch["identity"])
        return torch.cat(features), torch.cat(people)
