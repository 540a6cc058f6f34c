"""Tests of differences on the same images: against enumeration, the binomial test, and Holm's own steps."""

from __future__ import annotations

import itertools

import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor

from facecrafter.metrics.significance import clustered_mcnemar, holm


def hits(both: int, first: int, second: int, neither: int) -> tuple[Tensor, Tensor]:
    sizes = torch.tensor([both, first, second, neither])
    first_hits = torch.tensor([1, 1, 0, 0]).repeat_interleave(sizes)
    return first_hits, torch.tensor([1, 0, 1, 0]).repeat_interleave(sizes)


@pytest.mark.parametrize("table", [(5, 9, 2, 4), (0, 3, 3, 1), (40, 0, 7, 100), (3, 0, 0, 2)])
def test_one_image_a_person_is_mcnemars_exact_test(table: tuple[int, int, int, int]) -> None:
    """The discordant images are a fair coin's throws."""
    first, second = hits(*table)
    expected = binomtest(table[1], table[1] + table[2]).pvalue if table[1] + table[2] else 1.0
    assert clustered_mcnemar(first, second, torch.arange(len(first))) == pytest.approx(expected, abs=1e-12)


def test_people_are_exchanged_whole() -> None:
    """All 2^P ways of exchanging the two results person by person, counted one by one."""
    generator = torch.Generator().manual_seed(1)
    identities = torch.randint(9, (40,), generator=generator)
    first = (torch.rand(40, generator=generator) < 0.7).long()
    second = (torch.rand(40, generator=generator) < 0.3).long()
    people = [int((first - second)[identities == person].sum()) for person in identities.unique()]
    sums = [
        abs(sum(sign * change for sign, change in zip(signs, people, strict=True)))
        for signs in itertools.product((-1, 1), repeat=len(people))
    ]
    expected = sum(total >= abs(sum(people)) for total in sums) / len(sums)
    assert clustered_mcnemar(first, second, identities) == pytest.approx(expected, abs=1e-12)
    assert 0 < expected < 1


def test_images_of_one_person_are_no_independent_evidence() -> None:
    """Ten images of one person that all change say no more than one: either sign was as likely."""
    first, second = torch.ones(10), torch.zeros(10)
    assert clustered_mcnemar(first, second, torch.zeros(10, dtype=torch.int64)) == 1.0
    assert clustered_mcnemar(first, second, torch.arange(10)) == pytest.approx(2 / 2**10)


def test_results_of_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="3 and 2 results of 3 images are no pairs"):
        clustered_mcnemar(torch.ones(3), torch.ones(2), torch.arange(3))


def test_holm_steps_down_from_the_smallest() -> None:
    """By hand: 0.01·4; 0.013·3 is less, so it stays at 0.04; 0.03·2; 0.4·1."""
    adjusted = holm(torch.tensor([0.03, 0.01, 0.4, 0.013], dtype=torch.float64))
    assert adjusted.tolist() == pytest.approx([0.06, 0.04, 0.4, 0.04])
    assert holm(torch.tensor([0.6, 0.7])).tolist() == [1.0, 1.0]
    assert holm(torch.empty(0)).tolist() == []
