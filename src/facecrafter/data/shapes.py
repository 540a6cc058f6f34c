"""Signed distances of simple shapes, and an antialiasing canvas to paint them on.

Distances are negative inside; they are exact for circles and capsules and first-order near the edge
otherwise, which is where antialiasing reads them. x and y are (N, S, S) grids, y pointing down; parameters
broadcast as (N, 1, 1).
"""

from __future__ import annotations

import torch
from torch import Tensor

Value = Tensor | float


def ellipse(x: Tensor, y: Tensor, width: Value, height: Value) -> Tensor:
    """Half-axes ``width`` and ``height`` about the origin."""
    level = torch.sqrt((x / width) ** 2 + (y / height) ** 2)
    slope = torch.sqrt((x / width**2) ** 2 + (y / height**2) ** 2).clamp_min(1e-6)
    return level * (level - 1) / slope


def circle(x: Tensor, y: Tensor, radius: Value) -> Tensor:
    """A disc about the origin."""
    return torch.sqrt(x * x + y * y) - radius


def box(x: Tensor, y: Tensor, width: Value, height: Value, corner: Value) -> Tensor:
    """Half-sides ``width`` and ``height`` about the origin, corners rounded by ``corner``."""
    dx, dy = x.abs() - width + corner, y.abs() - height + corner
    outside = torch.sqrt(dx.clamp_min(0) ** 2 + dy.clamp_min(0) ** 2)
    return outside + torch.maximum(dx, dy).clamp_max(0) - corner


def band(x: Tensor, y: Tensor, middle: Value, thickness: Value, width: Value) -> Tensor:
    """The stroke along ``y = middle`` (which may vary with x) for \\|x\\| < ``width``."""
    return torch.maximum((y - middle).abs() - thickness, x.abs() - width)


def merge(a: Tensor, b: Tensor, smooth: float) -> Tensor:
    """Union of two shapes whose seam is rounded over the length ``smooth``."""
    blend = (smooth - (a - b).abs()).clamp_min(0) / smooth
    return torch.minimum(a, b) - blend * blend * (smooth / 4)


class Canvas:
    """N pictures (N, 3, S, S); ``pixel`` (N, 1, 1) is the side of a pixel in the units of the distances
    painted."""

    def __init__(self, picture: Tensor, pixel: Tensor) -> None:
        self.picture, self.pixel = picture, pixel

    def paint(self, distance: Tensor, colour: Tensor, opacity: Value = 1.0, blur: float = 0.0) -> None:
        """Lay ``colour`` (N, 3, 1 or S, 1 or S) over the inside, its edge one pixel plus ``blur`` units
        wide."""
        cover = (0.5 - distance / (self.pixel + blur)).clamp(0, 1) * opacity
        self.picture.lerp_(colour.expand_as(self.picture), cover.unsqueeze(1).expand_as(self.picture))
