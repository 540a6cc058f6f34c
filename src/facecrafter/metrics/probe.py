"""What a task that nobody knew finds in features: a linear probe of labels."""

from __future__ import annotations

import torch
from torch import Tensor

RIDGES = tuple(10.0**power for power in range(-5, 3))
"""Penalties that are tried, in units of the mean square of a feature about the mean."""


class LinearProbe:
    """Ridge regression of labels on features, its penalty chosen by leaving each image out in turn.

    The errors of leaving one out are exact and need no second fit (Allen's PRESS): e_i = α_i / C_ii, with the
    products K of the centred features, α = (K + λI)⁻¹ y, and C = (K + λI)⁻¹ − 11ᵀ/(Nλ): without an image the
    others have another mean.

    Args:
        features: (N, ...), of a few thousand images at most: memory and time are those of an N x N matrix.
        labels: (N, A), numbers or 0 and 1.

    Attributes:
        ridge: the penalty of each label (A,), of `RIDGES`.

    Raises:
        ValueError: there are fewer than three images, or all have the same feature.
    """

    def __init__(self, features: Tensor, labels: Tensor) -> None:
        if len(features) < 3:
            raise ValueError(f"a probe needs at least three images to learn from, not {len(features)}")
        x, y = features.flatten(1).double(), labels.double()
        self._centre, self._level = x.mean(dim=0), y.mean(dim=0)
        x = x - self._centre
        self._scale = x.square().sum(dim=1).mean().sqrt()
        if not self._scale > 0:
            raise ValueError("a probe cannot learn from features that are all the same")
        x = x / self._scale
        values, basis = _left_singular(x)
        y = y - self._level
        seen = basis.T @ y
        unseen = y - basis @ seen
        solutions, errors = [], []
        for ridge in RIDGES:
            inverse = 1 / (values + ridge)
            alpha = basis @ (inverse[:, None] * seen) + unseen / ridge
            # Of K + λI the inverse is 1/λ outside the basis.
            diagonal = (basis.square() * (inverse - 1 / ridge)).sum(dim=1) + (1 - 1 / len(x)) / ridge
            solutions.append(alpha)
            errors.append((alpha / diagonal[:, None]).square().sum(dim=0))
        best = torch.stack(errors).argmin(dim=0)
        self.ridge = torch.tensor(RIDGES)[best.cpu()]
        self._weights = x.T @ torch.stack(solutions)[best, :, torch.arange(len(best), device=best.device)].T

    def __call__(self, features: Tensor) -> Tensor:
        """Features (M, ...) -> scores (M, A), in the labels' units."""
        x = (features.flatten(1).double() - self._centre) / self._scale
        return x @ self._weights + self._level


def _left_singular(x: Tensor) -> tuple[Tensor, Tensor]:
    """The squares of the singular values (r,) and the left singular vectors (N, r) of x (N, n).

    Solved in as many unknowns as there are images or numbers, whichever are fewer.
    """
    is_tall = x.shape[1] < len(x)
    values, vectors = torch.linalg.eigh(x.T @ x if is_tall else x @ x.T)
    real = values > values[-1] * torch.finfo(x.dtype).eps * max(x.shape)
    values, vectors = values[real], vectors[:, real]
    return values, x @ vectors / values.sqrt() if is_tall else vectors
