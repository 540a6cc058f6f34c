"""A metric over batches and processes, from a function of all images: each counts once, whoever saw it.

A distributed sampler repeats images so that every process has as many; a row names each image, and only the
first of its results is kept. What is computed does not depend on the order in which images came.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


def first_of_each(rows: Tensor) -> Tensor:
    """Where each row (N,) stands first, in ascending order of rows."""
    ordered, positions = rows.sort(stable=True)
    return positions[F.pad(ordered.diff() != 0, (1, 0), value=True)]


class ImageSet(Metric):
    """``function`` of all images together, such as `frechet_distance`: a number, or several as a tensor.

    Args:
        function: of ``inputs`` tensors whose first dimension counts images.
        inputs: how many.
    """

    full_state_update = False

    def __init__(self, function: Callable[..., Any], inputs: int) -> None:
        super().__init__()
        self.function = function
        self.names = ["rows", *(f"input_{number}" for number in range(inputs))]
        for name in self.names:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, *tensors: Tensor, rows: Tensor) -> None:
        """``tensors`` (N, ...) are of the images named by ``rows`` (N,) int64."""
        for name, tensor in zip(self.names, (rows, *tensors), strict=True):
            getattr(self, name).append(tensor.detach())

    def compute(self) -> Tensor:
        rows, *tensors = (dim_zero_cat(getattr(self, name)) for name in self.names)
        first = first_of_each(rows)
        return torch.as_tensor(self.function(*(tensor[first] for tensor in tensors)))
