"""ε of ε-perceptual inversion indistinguishability (Crafter, Definition 2), by optimal transport."""

from __future__ import annotations

from statistics import fmean
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


class EpsilonPoint(NamedTuple):
    """ε and its null as n images on either side give them."""

    n: int
    epsilon: float
    null: float


def epsilon_curve(
    reconstructions: Tensor,
    prior_samples: Tensor,
    other_samples: Tensor,
    private_images: Tensor,
    rng: torch.Generator,
    smallest: int = 16,
) -> list[EpsilonPoint]:
    """ε and its null over the number of images, halved down to ``smallest``.

    The cost of transport between samples falls with their number towards that between the distributions, so
    neither value means much alone: what counts is whether they part. Each point is the mean over disjoint
    parts of the shuffled images; the last is what `epsilon` and `epsilon_null` give.

    Args:
        reconstructions: (N, C, H, W) in [0, 1].
        prior_samples, other_samples: (N, C, H, W), disjoint sets of G(z_r).
        private_images: (M, C, H, W), whose colours the samples are matched to.
        rng: shuffles the images.
    """
    order = torch.randperm(len(reconstructions), generator=rng)
    shown = reconstructions[order]
    samples, others = (match_channels(images, private_images) for images in (prior_samples, other_samples))
    sizes = [len(order)]
    while sizes[-1] // 2 >= smallest:
        sizes.append(sizes[-1] // 2)
    return [EpsilonPoint(n, _in_parts(shown, samples, n), _in_parts(others, samples, n)) for n in sizes[::-1]]


def _in_parts(first: Tensor, second: Tensor, n: int) -> float:
    """Mean ε of the parts of n images each."""
    pairs = zip(torch.split(first, n), torch.split(second, n), strict=True)
    return fmean(_epsilon(*pair).scaled for pair in pairs if len(pair[0]) == n)


def _epsilon(first: Tensor, second: Tensor) -> Epsilon:
    cost = transport_cost(first, second)
    return Epsilon(cost / first[0].numel(), cost)
