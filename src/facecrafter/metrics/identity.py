"""Identity left in reconstructions, as an evaluating network (oracle) sees it: who is it, and who is near."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


def identified(scores: Tensor, identities: Tensor, k: int = 1) -> Tensor:
    """Whether the true identity is among the k highest scores; its mean is Eval Acc (k = 1) or top-5.

    An identity that ties with the true one counts as ahead of it, so equal scores never pass for knowledge.

    Args:
        scores: (N, n_identities).
        identities: (N,) int64 in 0..n_identities-1.

    Returns:
        (N,) bool.
    """
    true = scores.gather(1, identities[:, None])
    # The right person ties with themselves: minus one. Nobody is ahead of NaN, which therefore never counts.
    others_ahead = (scores >= true).sum(dim=1) - 1
    return (others_ahead < k) & true[:, 0].isfinite()


def feature_similarity(first: Tensor, second: Tensor) -> Tensor:
    """FSIM: cosine of the oracle's penultimate features (N, E) of two sets of images, (N,) in [-1, 1]."""
    return F.cosine_similarity(first, second, dim=1)


class Neighbours(NamedTuple):
    """What stands nearest to N images in a gallery.

    Attributes:
        distance: (N,) one minus the cosine to the nearest gallery image, in [0, 2].
        same_person: (N,) bool, whether that image is of the same person; not so where others are as near.
    """

    distance: Tensor
    same_person: Tensor


def nearest_neighbours(
    features: Tensor, identities: Tensor, gallery: Tensor, gallery_identities: Tensor
) -> Neighbours:
    """Nearest gallery image of each image in the oracle's feature space.

    A person with more gallery images is nearest more often by chance: give everybody as many.

    Args:
        features: (N, E).
        identities: (N,) int64.
        gallery: (M, E), features of known images.
        gallery_identities: (M,) int64.
    """
    # In float64: rounding must not decide between photographs that are as near.
    cosines = F.normalize(features.double()) @ F.normalize(gallery.double()).T
    own = identities[:, None] == gallery_identities
    nearest_own = cosines.masked_fill(~own, -torch.inf).amax(dim=1)
    nearest_other = cosines.masked_fill(own, -torch.inf).amax(dim=1)
    distance = (1 - torch.maximum(nearest_own, nearest_other)).clamp(min=0)
    return Neighbours(distance, nearest_own > nearest_other)
