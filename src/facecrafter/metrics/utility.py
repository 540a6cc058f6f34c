"""Utility of features: the mean AUC of what the cloud reads from them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from facecrafter.metrics.gathering import ImageSet


class MeanAUCResult(NamedTuple):
    """``value``: mean over ``columns``, the columns that have both classes (NaN if none has)."""

    value: float
    columns: tuple[int, ...]


def weighted_aucs(scores: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Area under the ROC curve of one column, for B weightings of the N images at once.

    The probability that a random positive scores above a random negative, ties counted half: exact, by ranks.

    Args:
        scores: (N,), any increasing function of the probability.
        targets: (N,) in {0, 1}.
        weights: (B, N), non-negative.

    Returns:
        (B,) float64 in [0, 1]; NaN where a class has no weight.
    """
    order = scores.argsort()
    positive = targets[order].double()
    weights = weights[:, order].double()
    _, group, size = torch.unique_consecutive(scores[order], return_inverse=True, return_counts=True)
    last = size.cumsum(0) - 1
    negatives = (weights * (1 - positive)).cumsum(dim=1)
    upto = negatives[:, last]
    # Negatives below a group of equal scores, and up to its end: half of those that tie count.
    below = F.pad(upto, (1, 0))[:, :-1]
    wins = (weights * positive * ((below + upto) / 2)[:, group]).sum(dim=1)
    return wins / ((weights * positive).sum(dim=1) * negatives[:, -1])


def weighted_balanced_accuracies(decisions: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Balanced accuracy of each of A columns, for B weightings of the N images at once.

    Mean of the shares of positives and of negatives that are decided right.

    Args:
        decisions, targets: (N, A) in {0, 1}.
        weights: (B, N), non-negative.

    Returns:
        (B, A) float64 in [0, 1]; NaN where a class has no weight.
    """
    right = (decisions == targets).double()
    shares = [(weights @ (right * one)) / (weights @ one) for one in (targets.double(), 1 - targets.double())]
    return torch.stack(shares).mean(dim=0)


def attribute_aucs(scores: Tensor, targets: Tensor) -> Tensor:
    """AUC of each of the A columns of ``scores`` (N, A) for ``targets`` (N, A); NaN where there is one class.

    Raises:
        ValueError: see `check_scored`.
    """
    check_scored(scores, targets)
    one = torch.ones(1, len(scores), dtype=torch.float64, device=scores.device)
    return torch.cat([weighted_aucs(s, t, one) for s, t in zip(scores.T, targets.T, strict=True)])


def check_scored(scores: Tensor, targets: Tensor) -> None:
    """See that there is an AUC of each column of ``scores`` (N, A) for ``targets`` (N, A).

    Raises:
        ValueError: the shapes differ, a score is not finite, or a target is neither 0 nor 1.
    """
    if scores.shape != targets.shape or scores.ndim != 2:
        raise ValueError(
            f"scores {tuple(scores.shape)} and targets {tuple(targets.shape)} must both be (N, A)"
        )
    if not scores.isfinite().all():
        raise ValueError("a score is not finite: the network that made the scores is broken")
    if not ((targets == 0) | (targets == 1)).all():
        raise ValueError("targets must be 0 or 1; for class numbers use torch.nn.functional.one_hot")


def mean_auc(scores: Tensor, targets: Tensor) -> MeanAUCResult:
    """Mean AUC over the columns that have both classes, and which these are.

    With one-hot targets (N, K) of a K-class task this is the macro one-vs-rest AUC.
    """
    aucs = attribute_aucs(scores, targets)
    used = ~aucs.isnan()
    return MeanAUCResult(aucs[used].mean().item(), tuple(used.nonzero()[:, 0].tolist()))


class MeanAUC(ImageSet):
    """Mean AUC over batches of ``scores`` and ``targets``, both (N, A); see `mean_auc`.

    ``targets`` may also be class numbers (N,) of a task with A classes.
    """

    higher_is_better = True

    def __init__(self) -> None:
        super().__init__(_mean_auc_value, inputs=2)

    def update(self, scores: Tensor, targets: Tensor, *, rows: Tensor) -> None:  # type: ignore[override]
        """``rows`` (N,) int64 name the images."""
        if targets.ndim == 1:
            targets = F.one_hot(targets.long(), scores.shape[1])
        super().update(scores.float(), targets, rows=rows)


def _mean_auc_value(scores: Tensor, targets: Tensor) -> float:
    return mean_auc(scores, targets).value
