"""Identity left in reconstructions, as an evaluating network (oracle) sees it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric


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
    others_ahead = (scores >= true).sum(dim=1) - 1
    return (others_ahead < k) & true[:, 0].isfinite()


def feature_similarity(first: Tensor, second: Tensor) -> Tensor:
    """FSIM: cosine of the oracle's penultimate features (N, E) of two sets of images, (N,) in [-1, 1]."""
    return F.cosine_similarity(first, second, dim=1)


class IdentificationAccuracy(Metric):
    """The share of images whose identity is among the k highest scores; see `identified`."""

    full_state_update = False
    higher_is_better = True

    def __init__(self, k: int = 1) -> None:
        super().__init__()
        self.k = k
        self.hits: Tensor
        self.total: Tensor
        self.add_state("hits", default=torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, scores: Tensor, identities: Tensor) -> None:
        self.hits += identified(scores, identities, self.k).sum()
        self.total += len(identities)

    def compute(self) -> Tensor:
        return self.hits / self.total
