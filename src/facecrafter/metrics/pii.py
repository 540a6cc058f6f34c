"""ε of ε-perceptual inversion indistinguishability (Crafter, Definition 2), by optimal transport."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Epsilon(NamedTuple):
    """``cost``: transport cost, a Euclidean distance between images; ``scaled``: divided by C·H·W."""

    scaled: float
    cost: float


def match_channels(images: Tensor, references: Tensor) -> Tensor:
    """``images`` (N, C, H, W) with each channel's mean and standard deviation of ``references``.

    Unclipped: clipping would change the moments again.
    """
    dims = (0, 2, 3)
    mean, std = images.mean(dims, keepdim=True), images.std(dims, keepdim=True)
    return (images - mean) / std * references.std(dims, keepdim=True) + references.mean(dims, keepdim=True)


def transport_cost(first: Tensor, second: Tensor) -> float:
    """Earth mover's distance between two sets of as many images, with Euclidean ground distance.

    Raises:
        ValueError: the sets differ in size or shape.
        RuntimeError: the solver did not reach the optimum.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"two sets of one shape are needed, not {tuple(first.shape)} and {tuple(second.shape)}"
        )
    import ot  # a second to import, which whoever needs another metric should not wait for

    ground = torch.cdist(first.flatten(1).double(), second.flatten(1).double()).cpu().numpy()
    # Enough iterations for thousands of images, where POT's default stops short of the optimum.
    cost, log = ot.emd2([], [], ground, numItermax=100_000_000, log=True)
    if log["warning"] is not None:
        raise RuntimeError(f"optimal transport between {len(first)} images failed: {log['warning']}")
    return float(cost)


def epsilon(reconstructions: Tensor, prior_samples: Tensor, private_images: Tensor) -> Epsilon:
    """How far what an attacker sees is from average faces; 0 would be perfect indistinguishability.

    Args:
        reconstructions: (N, C, H, W) in [0, 1].
        prior_samples: (N, C, H, W), G(z_r) for random z_r; matched here to the private images' colours, so
            that ε does not measure a difference of tone between public and private photographs.
        private_images: (M, C, H, W), the images that were protected.
    """
    return _epsilon(reconstructions, match_channels(prior_samples, private_images))


def epsilon_null(prior_samples: Tensor, other_samples: Tensor, private_images: Tensor) -> Epsilon:
    """The ε of two disjoint sets of prior samples, both matched: what sampling alone gives."""
    return _epsilon(
        match_channels(other_samples, private_images), match_channels(prior_samples, private_images)
    )


def _epsilon(first: Tensor, second: Tensor) -> Epsilon:
    cost = transport_cost(first, second)
    return Epsilon(cost / first[0].numel(), cost)
