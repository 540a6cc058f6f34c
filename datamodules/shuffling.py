"""The order in which images are trained with, and which of them a device has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DistributedSampler

from facecrafter.randomness import seeded


class EpochShuffle(DistributedSampler[int]):
    """The positions below `length` in whole batches, shuffled by seed and epoch alone.

    A run that goes on from a checkpoint meets the images in the order of the unbroken one; torch's own
    shuffling depends on what was drawn before. However many ranks share the images, the batches are the same:
    each rank has a block of every one, the first rank the first. Lightning calls `set_epoch`.

    Args:
        length: number of images.
        seed: of the order.
        batch_size: images in a batch of all ranks together; those that fill no batch are left out.
        rank, ranks: whose block it is, and of how many.
        first: within a batch, positions below it stand before the others.
    """

    def __init__(
        self, length: int, seed: int, batch_size: int, rank: int = 0, ranks: int = 1, first: int = 0
    ) -> None:
        super().__init__(range(length), ranks, rank, seed=seed, drop_last=True)
        self.length, self.batch_size, self.first = length, batch_size, first

    def __len__(self) -> int:
        return self.length // self.batch_size * (self.batch_size // self.num_replicas)

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(self.length, generator=seeded(self.seed, self.epoch)).tolist()
        block = self.batch_size // self.num_replicas
        for start in range(0, self.length - self.batch_size + 1, self.batch_size):
            batch = sorted(order[start : start + self.batch_size], key=lambda place: place >= self.first)
            yield from batch[self.rank * block : (self.rank + 1) * block]


def all_on_every_rank(length: int) -> DistributedSampler[int]:
    """The order of validation: Lightning would share the images out, and count some twice to make it even."""
    return DistributedSampler(range(length), num_replicas=1, rank=0, shuffle=False)


def shares(trainer: Any, batch_size: int) -> dict[str, int]:
    """Which `rank` of how many `ranks` trains with the batches of a loader.

    Args:
        trainer: the datamodule's, None where there is none.

    Raises:
        ValueError: the ranks cannot have equal parts of a batch.
    """
    ranks = trainer.world_size if trainer else 1
    if batch_size % ranks:
        divisors = ", ".join(str(n) for n in range(1, batch_size + 1) if batch_size % n == 0)
        raise ValueError(
            f"{ranks} devices cannot share batches of batch_size {batch_size} evenly: set devices to one of "
            f"{divisors}, or batch_size to a multiple of {ranks}"
        )
    return {"rank": trainer.global_rank if trainer else 0, "ranks": ranks}
