"""Taking out of a feature what tells people apart, as far as a linear map can read it there."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facecrafter.crafter.jacobian import Linearization


class Eraser(nn.Module):
    """r(F) = F − L Rᵀ(F − μ): what lies along the erased directions becomes the mean's.

    With Σ_λ = Σ + λ tr(Σ)/n I, Σ the covariance of features, U (n, k) orthonormal columns, L = Σ_λ^½U and
    R = Σ_λ^(−½)U. At λ = 0, where U spans all that Σ^(−½)F has in common with a concept, no linear map reads
    the concept from r(F), and of all such maps r moves features least (least-squares concept erasure, Belrose
    et al. 2023, Theorem 4.3). With fewer directions, or λ > 0 where Σ is not known well, something is left.

    Args:
        elements: n, numbers in a feature.
        rank: k, directions that are erased.

    Attributes:
        mean: μ (n,).
        left: L (n, k).
        right: R (n, k).
    """

    def __init__(self, elements: int, rank: int) -> None:
        super().__init__()
        self.rank = rank
        self.mean = nn.Parameter(torch.zeros(elements))
        self.left = nn.Parameter(torch.zeros(elements, rank))
        self.right = nn.Parameter(torch.zeros(elements, rank))

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, C, h, w) -> the same without what the directions hold."""
        return features - self._taken(features.flatten(1) - self.mean).view_as(features)

    def parted(self, features: Tensor, scale: float) -> tuple[Tensor, Linearization]:
        """What r leaves of F (N, C, h, w) beside s times what it takes (N, 2C, h, w), and the derivative.

        The two are not orthogonal: their sum would have another length.
        """

        def jvp(v: Tensor) -> Tensor:
            taken = self._taken(v.flatten(1)).view_as(v)
            return torch.cat([v - taken, scale * taken], dim=1)

        def vjp(u: Tensor) -> Tensor:
            left, taken = u.chunk(2, dim=1)
            along = (scale * taken - left).flatten(1) @ self.left.to(u)
            return left + (along @ self.right.T.to(u)).view_as(left)

        erased = self(features)
        return torch.cat([erased, scale * (features - erased)], dim=1), Linearization(jvp, vjp)

    def _taken(self, deviations: Tensor) -> Tensor:
        """L Rᵀ(F − μ) (N, n) of deviations from the mean (N, n)."""
        return (deviations @ self.right.to(deviations)) @ self.left.T.to(deviations)

    @torch.no_grad()
    def learn(self, features: Tensor, people: Tensor, shrinkage: float) -> Tensor:
        """Find the directions along which people differ most for how far features spread.

        U are the leading eigenvectors of Σ^(−½) B Σ^(−½), B the covariance between people: Fisher's
        discriminants. B is freed of what the spread within people adds to their means.

        Args:
            features: (N, n), of people who have several each.
            people: whom they show (N,).
            shrinkage: λ of Σ + λ·tr(Σ)/n·I: small ones trust the N features in every direction.

        Returns:
            For each direction the share of the spread that lies between people (k,), descending.

        Raises:
            ValueError: so many directions cannot be told apart.
        """
        x = features.double()
        mean = x.mean(dim=0)
        spread, basis, x = _principal(x - mean)
        if len(spread) < self.rank:
            raise ValueError(
                f"{len(features)} features have {len(spread)} directions: lower rank={self.rank}"
            )
        between = _between(x, people, spread)
        scale = (spread + shrinkage * spread.sum() / features.shape[1]).sqrt()
        found, directions = torch.linalg.eigh(between / scale / scale[:, None])
        chosen = directions.flip(1)[:, : self.rank]
        self.mean.copy_(mean)
        self.left.copy_(basis @ (scale[:, None] * chosen))
        self.right.copy_(basis @ (chosen / scale[:, None]))
        shares: Tensor = found.flip(0)[: self.rank]
        return shares


def _principal(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Variances (r,) along the principal directions (n, r) of centred features, and these in them (N, r).

    Solved in as many unknowns as there are features or elements, whichever are fewer.
    """
    is_wide = x.shape[1] > len(x)
    values, vectors = torch.linalg.eigh(x @ x.T if is_wide else x.T @ x)
    real = values > values[-1] * torch.finfo(x.dtype).eps * max(x.shape)
    values, vectors = values[real], vectors[:, real]
    basis = x.T @ vectors / values.sqrt() if is_wide else vectors
    return values / len(x), basis, x @ basis


def _between(x: Tensor, people: Tensor, spread: Tensor) -> Tensor:
    """Covariance (r, r) between people, without bias of their number.

    Args:
        x: features in their principal directions (N, r).
        spread: their variances (r,).
    """
    _, person, count = torch.unique(people, return_inverse=True, return_counts=True)
    means = x.new_zeros(len(count), x.shape[1]).index_add_(0, person, x) / count[:, None]
    raw = means.T @ (means * count[:, None]) / len(x)
    # In principal directions all of the covariance is their variances: the rest of it lies within people.
    within = torch.diag(spread) - raw
    between: Tensor = raw - within * (len(count) - 1) / (len(x) - len(count))
    return between
