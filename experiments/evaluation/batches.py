"""Networks and measures applied to many images on the device that was chosen; see facecrafter.batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from experiments.machine import device
from facecrafter import batches


def in_batches(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """``function`` of the tensors' slices of a few images, on `device()`."""
    return batches.in_batches(function, *tensors, device=device())


def mean_in_batches(function: Callable[[Tensor], Tensor], queries: Sequence[Tensor]) -> Tensor:
    """The mean (N, K) over `queries`, features (N, C, h, w) each, of ``function`` of each picture's.

    Not ``function`` of the mean feature, if it is not linear: of releases in strangers' features f's answers
    are kept in each, and in no mean of them.
    """
    return torch.stack([in_batches(function, features) for features in queries]).mean(dim=0)


def of_photographs(function: Callable[[Tensor], Tensor], images: batches.Images, n: int) -> Tensor:
    """``function`` of n photographs that are read a few at a time, on `device()`."""
    return batches.of_photographs(function, images, n, device())
