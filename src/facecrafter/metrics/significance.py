"""Whether results on the same images differ by more than chance: one test, or many made together."""

from __future__ import annotations

import torch
from torch import Tensor


def clustered_mcnemar(first: Tensor, second: Tensor, identities: Tensor) -> float:
    """Two-sided p-value for two results (N,) of hits and misses on the same images being equally good.

    McNemar's exact test with the images of one person kept together: if neither is better, exchanging the
    two for a person is as likely as not, so the person's difference of hits has a random sign. The sum of
    these differences is an integer, and its distribution is computed exactly, person by person. With one
    image a person this is McNemar's test (McNemar 1947).

    Args:
        first, second: (N,) in {0, 1}.
        identities: (N,) int64, who is in each image.

    Raises:
        ValueError: the lengths differ, so they are no pairs.
    """
    if not first.shape == second.shape == identities.shape:
        raise ValueError(
            f"{len(first)} and {len(second)} results of {len(identities)} images are no pairs; "
            "both must be of the same images"
        )
    _, person = torch.unique(identities, return_inverse=True)
    changes = torch.zeros(int(person.max()) + 1, dtype=torch.int64)
    changes.scatter_add_(0, person, first.long() - second.long())
    sizes = changes.abs()
    largest = int(sizes.sum())
    sums = torch.arange(-largest, largest + 1)
    probability = (sums == 0).double()
    for size in sizes[sizes > 0].tolist():
        probability = (probability.roll(size) + probability.roll(-size)) / 2  # no sum exceeds `largest`
    return min(1.0, probability[sums.abs() >= changes.sum().abs()].sum().item())


def holm(p_values: Tensor) -> Tensor:
    """P-values (M,) of tests made together, adjusted (Holm 1979).

    Whoever rejects where the adjusted value is below 5% errs anywhere in the family with at most that
    probability, whatever the tests have to do with each other.
    """
    order = p_values.argsort()
    tests_left = torch.arange(len(p_values), 0, -1, dtype=p_values.dtype)
    stepped = (p_values[order] * tests_left).clamp(max=1)
    if len(stepped):
        stepped = stepped.cummax(dim=0).values
    return torch.empty_like(p_values).scatter_(0, order, stepped)
