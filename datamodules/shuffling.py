"""The order in which images are trained with."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from facecrafter.randomness import seeded


class EpochShuffle(Sampler[int]):
    """All positions below `length`, shuffled by seed and epoch alone.

    A run that goes on from a checkpoint meets the images in the order of the unbroken one; torch's own
    shuffling depends on what was drawn before. Lightning calls `set_epoch`, and puts a sampler of its own in
    the place of this one where several ranks share the images.
    """

    def __init__(self, length: int, seed: int) -> None:
        self.length, self.seed, self.epoch = length, seed, 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        yield from torch.randperm(self.length, generator=seeded(self.seed, self.epoch)).tolist()

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
