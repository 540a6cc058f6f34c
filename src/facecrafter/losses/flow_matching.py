"""Flow matching along straight paths: from noise to images (Lipman et al. 2023; Liu et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Field = Callable[[Tensor, Tensor], Tensor]
"""Velocities (N, ...) at points (N, ...) and times (N,)."""


def velocity_error(field: Field, start: Tensor, end: Tensor, times: Tensor) -> Tensor:
    """‖v(x_t, t) − (x_1 − x_0)‖² on the path x_t = (1 − t)·x_0 + t·x_1, mean per value: scalar.

    Its minimiser is E[x_1 − x_0 | x_t], along which the distribution of x_0 flows into that of x_1.

    Args:
        field: v.
        start, end: pairs x_0, x_1 (N, ...), drawn independently of each other.
        times: t (N,) in [0, 1].
    """
    points = torch.lerp(start, end, times.reshape(-1, *[1] * (start.ndim - 1)))
    return F.mse_loss(field(points, times), end - start)


def flow_along(field: Field, start: Tensor, steps: int) -> Tensor:
    """Where points (N, ...) at t = 0 are at t = 1, by `steps` equal steps of Euler's method.

    Exact where paths are straight and are passed at constant speed.
    """
    points = start
    for step in range(steps):
        points = points + field(points, start.new_full((len(start),), step / steps)) / steps
    return points
