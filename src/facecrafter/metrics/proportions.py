"""Closed-form intervals for shares of images, alone and in pairs: they hold where successes are few or none.

A bootstrap cannot: of 64 images without a success no resample has one, and its interval would be a point.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

CONFIDENCE = 0.95
_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


class Interval(NamedTuple):
    """A value with the bounds of its 95% interval."""

    value: float
    lo: float
    hi: float


class Pairs(NamedTuple):
    """How often, of n images, both of two results were right, only the first, only the second, neither."""

    both: int
    first: int
    second: int
    neither: int


def wilson(successes: float, n: int) -> Interval:
    """Wilson's score interval of a proportion (Wilson 1927); of clusters, a success may be one in part.

    Raises:
        ValueError: ``n`` is not positive, or ``successes`` is outside 0..n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} are no proportion")
    return Interval(successes / n, *_wilson_bounds(successes, n, _Z))


def newcombe(pairs: Pairs) -> Interval:
    """Difference of two shares of the same images, first − second (Newcombe 1998, method 10).

    The distances from each share to its Wilson bounds, added as correlated errors.
    """
    n = sum(pairs)
    first, second = wilson(pairs.both + pairs.first, n), wilson(pairs.both + pairs.second, n)
    down, up = first.value - first.lo, second.hi - second.value
    down_other, up_other = second.value - second.lo, first.hi - first.value
    phi, difference = _correlation(pairs), first.value - second.value
    lo = difference - (down**2 - 2 * phi * down * up + up**2) ** 0.5
    hi = difference + (down_other**2 - 2 * phi * down_other * up_other + up_other**2) ** 0.5
    return Interval(difference, lo, hi)


def bonett_price(pairs: Pairs) -> Interval:
    """Ratio of two shares of the same images, first / second (Bonett and Price 2006).

    The bounds of two Wilson intervals divided, each so much narrower that the ratio's interval is of 95%.

    Raises:
        ValueError: the second was never right, so there is no ratio.
    """
    first, second = pairs.both + pairs.first, pairs.both + pairs.second
    n = pairs.both + pairs.first + pairs.second
    if second == 0:
        raise ValueError("a ratio needs a second share above zero")
    error = ((pairs.first + pairs.second + 2) / ((first + 1) * (second + 1))) ** 0.5
    errors = sum(((1 - (x + 1) / (n + 2)) / (x + 1)) ** 0.5 for x in (first, second))
    (lo, hi), (other_lo, other_hi) = (_wilson_bounds(x, n, _Z * error / errors) for x in (first, second))
    return Interval(first / second, lo / other_hi, hi / other_lo)


def _wilson_bounds(successes: float, n: int, z: float) -> tuple[float, float]:
    rate = successes / n
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (rate * (1 - rate) / n + z**2 / (4 * n**2)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def _correlation(pairs: Pairs) -> float:
    """φ of the 2×2 table, a positive one lowered by Newcombe's continuity correction."""
    both, first, second, neither = pairs
    margins = (both + first) * (second + neither) * (both + second) * (first + neither)
    if margins == 0:
        return 0.0
    association = both * neither - first * second
    corrected = min(association, max(association - sum(pairs) / 2, 0.0))
    return float(corrected / margins**0.5)
