from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from scipy.stats import binomtest, multinomial

from facecrafter.metrics.proportions import Interval, Pairs, bonett_price, newcombe, wilson


def test_wilson_of_the_papers_headline() -> None:
    """8.59% of 128 images: 4.9-14.7%."""
    interval = wilson(11, 128)
    assert interval.value == 11 / 128
    assert (round(interval.lo, 3), round(interval.hi, 3)) == (0.049, 0.147)


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 400), (3, 7), (200, 400), (400, 400)])
def test_wilson_agrees_with_scipy(successes: int, n: int) -> None:
    expected = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert wilson(successes, n)[1:] == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (5, 4), (-1, 4)])
def test_wilson_refuses_what_is_no_proportion(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="no proportion"):
        wilson(successes, n)


TABLES = [
    Pairs(both, first, second, 30 - both - first - second)
    for both, first, second in product(range(31), repeat=3)
    if both + first + second <= 30
]
"""All that 30 images can give."""


def coverage(interval: Callable[[Pairs], Interval], cells: list[float], truth: float) -> float:
    """How probable a table is whose interval contains the truth: exact, a sum over all tables."""
    chances = multinomial.pmf(np.array(TABLES), 30, cells)
    likely = [(table, chance) for table, chance in zip(TABLES, chances, strict=True) if chance > 1e-7]
    return sum(chance for table, chance in likely if contains(interval(table), truth))


def contains(interval: Interval, truth: float) -> bool:
    return interval.lo - 1e-12 <= truth <= interval.hi + 1e-12


CELLS = [[0.3, 0.1, 0.1, 0.5], [0.02, 0.01, 0.25, 0.72], [0.1, 0.0, 0.2, 0.7], [0.05, 0.15, 0.15, 0.65]]
"""Probabilities of both, first, second, neither."""


@pytest.mark.parametrize("cells", CELLS)
def test_differences_of_pairs_are_covered(cells: list[float]) -> None:
    assert 0.94 <= coverage(newcombe, cells, cells[1] - cells[2]) <= 0.995


@pytest.mark.parametrize("cells", CELLS)
def test_ratios_of_pairs_are_covered(cells: list[float]) -> None:
    def interval(table: Pairs) -> Interval:
        """Without a success of the second nothing is claimed, so nothing is wrong."""
        return bonett_price(table) if table.both + table.second else Interval(np.nan, 0, np.inf)

    assert 0.93 <= coverage(interval, cells, (cells[0] + cells[1]) / (cells[0] + cells[2])) <= 0.999


@pytest.mark.parametrize("interval", [newcombe, bonett_price])
def test_none_of_sixty_four_is_no_certainty(interval: Callable[[Pairs], Interval]) -> None:
    """Seventeen undefended images identified, not one protected: some may yet be."""
    found = interval(Pairs(0, 0, 17, 47))
    assert found.lo <= found.value < found.hi


def test_swapping_the_two_turns_the_interval_around() -> None:
    pairs, swapped = Pairs(5, 3, 11, 20), Pairs(5, 11, 3, 20)
    value, lo, hi = newcombe(pairs)
    assert newcombe(swapped) == pytest.approx((-value, -hi, -lo))
    value, lo, hi = bonett_price(pairs)
    assert bonett_price(swapped) == pytest.approx((1 / value, 1 / hi, 1 / lo))


def test_four_against_none_show_no_difference() -> None:
    """A coin falls four times on one side in one of eight series: no difference is shown by that."""
    assert newcombe(Pairs(0, 4, 0, 60)).lo < 0.0


def test_a_ratio_to_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above zero"):
        bonett_price(Pairs(0, 3, 0, 10))
