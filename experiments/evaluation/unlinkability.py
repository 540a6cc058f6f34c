"""Unlinkability: whether two features that left the device tell that they are of one person."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from experiments.evaluation.answers import NOTHING, Pictures
from experiments.evaluation.columns import Column, interval_columns
from experiments.evaluation.judge import first_of_each
from facecrafter.metrics import Interval, Linkability, SamePerson, linkability

COLUMNS = (
    Column(
        "d_sys",
        "D↔sys",
        "Linkability (ISO/IEC 24745) of the features of two pictures by their cosine, from 0 (pairs of one "
        "person cannot be told from pairs of two people) to 1; lower reveals less.",
        interval=True,
    ),
    Column(
        "m_sys",
        "M↔sys",
        "Maximal linkability by the same cosine, 0 to 1; lower reveals less.",
        interval=True,
    ),
    Column(
        "d_sys_answers",
        "D↔sys of answers",
        "Linkability of the same two features by f's answers to them, 0 to 1; lower reveals less.",
        interval=True,
    ),
    Column(
        "m_sys_answers",
        "M↔sys of answers",
        "Maximal linkability by the same answers, 0 to 1; lower reveals less.",
        interval=True,
    ),
    Column(
        "d_sys_lot",
        "D↔sys by lot",
        "Linkability by the cosine with people assigned at random: what histograms of so few pairs show "
        "where there is nothing to link.",
    ),
    Column(
        "d_sys_photograph",
        "D↔sys of one photograph",
        "Linkability by the cosine of two releases of the same photograph, 0 to 1; 1 where a defence draws "
        "nothing at random.",
        interval=True,
    ),
)
CERTAIN = 10.0
"""Log-likelihood ratios beyond which nothing more is told; else the tail of pairs that are surely not mated
would leave one bin of the histograms to all others."""
LINKED = 300
"""People among whose features links are looked for, at most: memory and time grow with their square."""


@dataclass(frozen=True)
class Release:
    """Features (N, C, h, w) that left the device, f's answers to them (N, A), and whose they are (N,)."""

    features: Tensor
    answers: Tensor
    identities: Tensor

    def at(self, chosen: Tensor) -> Release:
        """Some of them, by position or mask."""
        return Release(self.features[chosen], self.answers[chosen], self.identities[chosen])


def links(
    first: Release, second: Release | None, again: Release | None, strangers: Pictures, seed: int
) -> dict[str, float]:
    """The columns of linkability, NaN where there are too few pairs.

    Args:
        first: what left the device.
        second: other pictures of the same people; without it the pictures of `first` are compared.
        again: the pictures of `first` once more, in the same order.
        strangers: answers of public people.
    """
    first, second = _few_people(first), second and _few_people(second)
    theirs = second.identities if second else None

    def cosines() -> Tensor:
        mean = torch.cat([first.features, (second or first).features]).mean(dim=0)
        return _cosines(first.features - mean, (second or first).features - mean)

    def answers() -> Tensor:
        comparison = SamePerson.learn_white(strangers.numbers, strangers.identities)
        if second is None:
            return comparison.likeness(first.answers).clamp(-CERTAIN, CERTAIN)
        n = len(first.answers)
        likeness = comparison.likeness(torch.cat([first.answers, second.answers]))[:n, n:]
        return likeness.clamp(-CERTAIN, CERTAIN)

    columns: dict[str, float] = {}
    for kind, scores in (("", cosines), ("_answers", answers)):
        found = _linkability(scores, first.identities, theirs, seed)
        columns |= interval_columns(f"d_sys{kind}", found.d_sys if found else NOTHING)
        columns |= interval_columns(f"m_sys{kind}", found.maximal if found else NOTHING)
        if not kind:
            columns["d_sys_lot"] = found.unrelated if found else math.nan
    return columns | interval_columns("d_sys_photograph", _of_one_photograph(first, again, seed))


def _of_one_photograph(first: Release, again: Release | None, seed: int) -> Interval:
    """Of each person the first picture: another one of theirs makes no pair of two people."""
    if again is None:
        return NOTHING
    again = _few_people(again)
    one = first_of_each(first.identities, 1)
    mean = first.features.mean(dim=0)
    people = first.identities[one]
    found = _linkability(
        lambda: _cosines(first.features[one] - mean, again.features[one] - mean), people, people, seed
    )
    return found.d_sys if found else NOTHING


def _few_people(release: Release) -> Release:
    return release.at(release.identities < LINKED)


def _linkability(
    scores: Callable[[], Tensor], identities: Tensor, others: Tensor | None, seed: int
) -> Linkability | None:
    """None where there are too few pairs, or too few public people to learn how to compare."""
    try:
        return linkability(scores(), identities, seed, others)
    except ValueError:
        return None


def _cosines(first: Tensor, second: Tensor) -> Tensor:
    return F.normalize(first.flatten(1).double()) @ F.normalize(second.flatten(1).double()).T
