"""Several processes, the ranks, that share every batch of a training: together they compute what one would.

Each has a block of the batch's rows, the first rank the first rows. Their random generators are all in one
state: what is random in a batch is drawn for the whole of it by each, and each keeps its own rows. What mixes
the rows of a batch (a norm, a mean that is kept) asks the other ranks. A process is alone until it says
otherwise by `work_as`; then everything here is what torch does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Share:
    """The rows of each batch that a process has: block `rank` of `ranks` equal ones."""

    rank: int = 0
    ranks: int = 1


WHOLE = Share()
_share = WHOLE


def work_as(share: Share) -> None:
    """Say which rows of a batch this process has from now on."""
    global _share
    _share = share


def current() -> Share:
    """Which rows of a batch this process has."""
    return _share


@contextmanager
def alone() -> Iterator[None]:
    """In this block, every rank works on whole batches."""
    before = _share
    work_as(WHOLE)
    try:
        yield
    finally:
        work_as(before)


def own(x: Tensor, dim: int = 0) -> Tensor:
    """This rank's rows of what is there for the whole batch."""
    if _share == WHOLE:
        return x
    size = x.shape[dim] // _share.ranks
    return x.narrow(dim, _share.rank * size, size)


def rand(*shape: int, dim: int = 0, **options: Any) -> Tensor:
    """`torch.rand` of this shape, in which `dim` counts this rank's images."""
    return own(torch.rand(_whole(shape, dim), **options), dim)


def randn(*shape: int, dim: int = 0, **options: Any) -> Tensor:
    """`torch.randn` of this shape, in which `dim` counts this rank's images."""
    return own(torch.randn(_whole(shape, dim), **options), dim)


def randint(high: int, *shape: int, dim: int = 0, **options: Any) -> Tensor:
    """`torch.randint` below `high` of this shape, in which `dim` counts this rank's images."""
    return own(torch.randint(high, _whole(shape, dim), **options), dim)


def randn_like(x: Tensor) -> Tensor:
    """`torch.randn_like` of x (N, ...), whose N are this rank's images."""
    return torch.randn_like(x) if _share == WHOLE else own(torch.randn_like(for_whole_batch(x)))


def for_whole_batch(x: Tensor) -> Tensor:
    """An empty tensor as x (N, ...) would be for the images of all ranks, in the same order of memory."""
    format = torch.channels_last if _is_channels_last(x) else torch.contiguous_format
    empty = torch.empty(_whole(tuple(x.shape), 0), dtype=x.dtype, device=x.device)
    return empty.contiguous(memory_format=format)


def total(x: Tensor) -> Tensor:
    """The sum of x over all ranks, differentiable as often as need be."""
    found: Tensor = x if _share == WHOLE else _Total.apply(x)
    return found


def mean(x: Tensor) -> Tensor:
    """The mean over all images of a batch, from x, that over this rank's."""
    return x if _share == WHOLE else total(x) / _share.ranks


def norm(x: Tensor) -> Tensor:
    """‖x‖₂ of this rank's part and all others together (scalar)."""
    part: Tensor = torch.linalg.vector_norm(x)
    return part if _share == WHOLE else total(part.square()).sqrt()


def gathered(x: Tensor) -> Tensor:
    """x (N, ...) of all ranks, in the order of the batch (N · ranks, ...); differentiable as `total` is."""
    found: Tensor = x if _share == WHOLE else _Gathered.apply(x)
    return found


def _whole(shape: tuple[int, ...], dim: int) -> tuple[int, ...]:
    return (*shape[:dim], shape[dim] * _share.ranks, *shape[dim + 1 :])


def _is_channels_last(x: Tensor) -> bool:
    """Whether random numbers fill it pixel by pixel; where both orders are one, it does not matter."""
    return x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


class _Total(torch.autograd.Function):
    """A rank's loss depends on all ranks' x, and DDP averages: so gradients are summed as x is."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        found = x.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(found)
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return total(gradient)


class _Gathered(torch.autograd.Function):
    """See `_Total`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.detach().contiguous()
        parts = [torch.empty_like(x) for _ in range(_share.ranks)]
        dist.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return own(total(gradient))
