"""How alike two sets of images are as distributions of an oracle's features."""

from __future__ import annotations

import torch
from torch import Tensor


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Squared Fréchet distance of Gaussians fitted to two sets of features (Dowson and Landau 1982).

    ‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½), as in FID (Heusel et al. 2017). With centred features Xᵢ = QᵢRᵢ the
    last trace is the nuclear norm of R₁R₂ᵀ over √((N−1)(M−1)): no matrix is squared or inverted, and fewer
    samples than dimensions are no difficulty for it.

    The estimate is biased upwards, the more so the fewer samples there are, and well above zero for two
    samples of one distribution. Compare values of equal N and M only.

    Args:
        first: (N, E), N at least 2.
        second: (M, E), M at least 2.

    Raises:
        ValueError: a set has fewer than two features, or the dimensions differ.
    """
    if min(len(first), len(second)) < 2 or first.shape[1] != second.shape[1]:
        raise ValueError(
            f"two sets of at least 2 features of one dimension are needed, not {tuple(first.shape)} and "
            f"{tuple(second.shape)}"
        )
    roots = [_covariance_root(features.double()) for features in (first, second)]
    means = first.double().mean(dim=0) - second.double().mean(dim=0)
    spread = sum(root.square().sum() for root in roots)
    overlap = torch.linalg.matrix_norm(roots[0] @ roots[1].T, ord="nuc")
    # Of two equal sets, rounding may leave less than nothing.
    return max(0.0, float(means.square().sum() + spread - 2 * overlap))


def _covariance_root(features: Tensor) -> Tensor:
    """R (min(N, E), E) with RᵀR the covariance of features (N, E)."""
    centred = (features - features.mean(dim=0)) / (len(features) - 1) ** 0.5
    # By QR: a covariance that is formed first has lost half of the digits.
    root: Tensor = torch.linalg.qr(centred, mode="r").R
    return root
