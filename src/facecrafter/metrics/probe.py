"""What a task that nobody knew finds in features: a linear probe of labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

RIDGES = tuple(10.0**power for power in range(-5, 3))
"""Penalties that are tried, in units of the mean square of a feature about the mean."""


@dataclass(frozen=True)
class LinearProbe:
    """Scores of A labels that are linear in a feature of n numbers.

    Attributes:
        weights: (n, A), of the feature about `centre`, over `scale`.
        centre: (n,), the mean feature.
        scale: (), the root of the mean square of a feature about the mean.
        level: (A,), the mean labels.
        ridge: (A,), the penalty of each label, of `RIDGES`.
    """

    weights: Tensor
    centre: Tensor
    scale: Tensor
    level: Tensor
    ridge: Tensor

    @classmethod
    def fit(cls, features: Tensor, labels: Tensor) -> LinearProbe:
        """Ridge regression of labels on features, its penalty chosen by leaving each image out in turn.

        The errors of leaving one out are exact and need no second fit (Allen's PRESS): e_i = α_i / C_ii, with
        the products K of the centred features, α = (K + λI)⁻¹ y, and C = (K + λI)⁻¹ − 11ᵀ/(Nλ): without an
        image the others have another mean.

        Args:
            features: (N, ...), of a few thousand images at most: memory and time go by an N x N matrix.
            labels: (N, A), numbers or 0 and 1.

        Raises:
            ValueError: there are fewer than three images, or all have the same feature.
        """
        if len(features) < 3:
            raise ValueError(f"a probe needs at least three images to learn from, not {len(features)}")
        x, y = features.flatten(1).double(), labels.double()
        centre, level = x.mean(dim=0), y.mean(dim=0)
        x = x - centre
        scale = x.square().sum(dim=1).mean().sqrt()
        if not scale > 0:
            raise ValueError("a probe cannot learn from features that are all the same")
        x = x / scale
        values, basis = _left_singular(x)
        y = y - level
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
        weights = x.T @ torch.stack(solutions)[best, :, torch.arange(len(best), device=best.device)].T
        return cls(weights, centre, scale, level, torch.tensor(RIDGES)[best.cpu()])

    def __call__(self, features: Tensor) -> Tensor:
        """Features (M, ...) -> scores (M, A), in the labels' units."""
        x = (features.flatten(1).double() - self.centre) / self.scale
        return x @ self.weights + self.level


def _left_singular(x: Tensor) -> tuple[Tensor, Tensor]:
    """The squares of the singular values (r,) and the left singular vectors (N, r) of x (N, n).

    Solved in as many unknowns as there are images or numbers, whichever are fewer.
    """
    is_tall = x.shape[1] < len(x)
    values, vectors = torch.linalg.eigh(x.T @ x if is_tall else x @ x.T)
    real = values > values[-1] * torch.finfo(x.dtype).eps * max(x.shape)
    values, vectors = values[real], vectors[:, real]
    return values, x @ vectors / values.sqrt() if is_tall else vectors
