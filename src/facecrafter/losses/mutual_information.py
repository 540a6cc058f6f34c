"""How much a feature says about its image, estimated by a network (TIPRDC, Li et al., KDD 2020)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from facecrafter import ranks

Statistics = Callable[[Tensor, Tensor, Tensor], Tensor]
"""T: images (N, 3, H, W), features (N, C, h, w) and labels (N,) -> (N,)."""


def jensen_shannon_information(
    statistics: Statistics, images: Tensor, features: Tensor, labels: Tensor
) -> Tensor:
    """I = E[−softplus(−T(x, z, u))] − E[softplus(T(x', z, u))], x' another image of the batch (scalar).

    A lower bound for every T of 2·JSD(p(x, z, u) ‖ p(x)·p(z, u)) − log 4, reached by the logarithm of the
    ratio of the two densities (Nowozin et al. 2016): −log 4 where the feature says nothing about the image, 0
    where it says everything. x' is the batch moved on by one, as published.

    Raises:
        ValueError: a batch of one has no other image.
    """
    whole = ranks.gathered(images)
    if len(whole) < 2:
        raise ValueError("mutual information is estimated on batches of at least two images")
    joint = statistics(images, features, labels)
    # u stays with its feature: only the image is exchanged, as the product p(x)·p(z, u) says.
    independent = statistics(ranks.own(whole.roll(-1, dims=0)), features, labels)
    # log σ(T) and log(1 − σ(T')): T is the logit of a classifier that tells joint pairs from exchanged ones.
    return -F.softplus(-joint).mean() - F.softplus(independent).mean()
