"""A3: averaging the features of several queries, and shuffling against it (Crafter, section V-A)."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def shuffled(features: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """The countermeasure: the features (N, ...) of one batch in another order.

    Returns:
        The features, and the order (N,) int64: the image at position i of the result was at order[i].
    """
    order = torch.randperm(len(features), generator=rng)
    return features[order], order


def average(queries: Tensor) -> Tensor:
    """The mean (N, C, h, w) of the features of Q queries (Q, N, C, h, w), position by position.

    A channel that is zero throughout in one of the queries was withheld there, as by channel dropout. Whoever
    receives it sees that, and takes the mean over the others: zeros would undo what averaging wins.
    """
    told = (queries != 0).any(dim=-1).any(dim=-1)[..., None, None]
    return queries.sum(dim=0) / told.sum(dim=0).clamp_min(1)


def match(queries: Tensor) -> Tensor:
    """Where each query has the images of the first one.

    Every query is assigned one to one to the first such that the sum of the squared distances is least: the
    most likely order if the queries add independent normal noise to the same features. Nothing but the
    features is used. Assigned to the mean of the queries before it instead, a query's place is found about as
    often, but the average is worse: one wrong assignment then draws others after it.

    Args:
        queries: features of Q queries of the same N images, each in an order of its own (Q, N, C, h, w).

    Returns:
        (Q, N) int64: query q has the image of position i at [q, i]; the first row counts from 0.
    """
    first, *others = queries.double().flatten(2)
    places = [linear_sum_assignment(torch.cdist(first, other).square().cpu().numpy())[1] for other in others]
    return torch.stack([torch.arange(len(first)), *map(torch.from_numpy, places)])
