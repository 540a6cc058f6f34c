"""The Jensen-Shannon estimate of mutual information, on bits for which its value is known."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from torch import Tensor

from facecrafter.losses.mutual_information import jensen_shannon_information


def agreeing_bits(dependence: float) -> tuple[Tensor, Tensor]:
    """Bits x and z (40,) that agree with probability (1 + dependence) / 2, each 0 half of the time.

    In an order in which every z is followed by x = 0 as often as by x = 1: a walk along the ten edges from
    each bit to each, whose edges from x to x' agree in equal parts.
    """
    walk = [(0, 0)] * 10 + [(0, 1)] + [(1, 1)] * 10 + [(1, 0)] + [(0, 1), (1, 0)] * 9
    passed: Counter[tuple[int, int]] = Counter()
    z = []
    for edge in walk:
        z.append(edge[0] if passed[edge] < round(5 * (1 + dependence)) else 1 - edge[0])
        passed[edge] += 1
    return torch.tensor([x for x, _ in walk]), torch.tensor(z)


def shannon(p: Tensor, q: Tensor) -> float:
    """JSD(p ‖ q) in nats."""
    return sum(0.5 * (d * (2 * d / (p + q)).log()).sum().item() for d in (p, q))


@pytest.mark.parametrize("dependence", [0.0, 0.4, 0.8])
def test_the_best_statistics_reach_the_jensen_shannon_divergence(dependence: float) -> None:
    """2·JSD − log 4 for the logarithm of the ratio of the densities, and less for any other T."""
    x, z = agreeing_bits(dependence)
    agree, differ = (1 + dependence) / 4, (1 - dependence) / 4
    joint = torch.tensor([[agree, differ], [differ, agree]], dtype=torch.float64)
    independent = torch.full((2, 2), 0.25, dtype=torch.float64)

    def information(table: Tensor) -> float:
        return jensen_shannon_information(lambda x, z, u: table[x, z], x, z, z).item()

    best = (joint / independent).log()
    assert information(best) == pytest.approx(2 * shannon(joint, independent) - math.log(4), abs=1e-12)
    assert information(best) >= -math.log(4) - 1e-12
    for other in (best + 0.3, best - 0.3, best.flip(0) + 0.1):
        assert information(other) < information(best)


def test_a_batch_without_another_image_is_refused() -> None:
    one = torch.zeros(1)
    with pytest.raises(ValueError, match="at least two images"):
        jensen_shannon_information(lambda x, z, u: x, one, one, one)
