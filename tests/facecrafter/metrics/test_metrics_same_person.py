"""Telling people apart by a few numbers: against dense Gaussians, and against whoever knows the truth."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from facecrafter.metrics import SamePerson, fano, identified

PEOPLE, PICTURES, A = 400, 5, 4
BETWEEN = torch.diag(torch.tensor([4.0, 1.0, 0.25, 0.0], dtype=torch.float64))
MIX = torch.tensor([[1, 0.5, 0, 0], [0, 1, 0.3, 0], [0.2, 0, 1, 0], [0, 0, 0.8, 1]], dtype=torch.float64)


def drawn(people: int, pictures: int, seed: int) -> tuple[Tensor, Tensor]:
    """Numbers of people who differ as BETWEEN, under unit noise, seen through MIX; and who each is of."""
    rng = torch.Generator().manual_seed(seed)
    points = torch.randn(people, A, generator=rng, dtype=torch.float64) @ BETWEEN.sqrt()
    identities = torch.arange(people).repeat_interleave(pictures)
    noise = torch.randn(len(identities), A, generator=rng, dtype=torch.float64)
    return (points[identities] + noise) @ MIX, identities


@pytest.fixture(scope="module")
def model() -> SamePerson:
    return SamePerson.learn(*drawn(PEOPLE, PICTURES, seed=0))


def covariances(model: SamePerson) -> tuple[Tensor, Tensor]:
    """Between and within people, in the numbers' own coordinates."""
    back = torch.linalg.inv(model.axes)
    return back.T @ torch.diag(model.spread) @ back, back.T @ back


def joint(model: SamePerson, pictures: int) -> MultivariateNormal:
    """All numbers of several pictures of one person, as one dense Gaussian."""
    between, within = covariances(model)
    covariance = torch.kron(torch.ones(pictures, pictures).double(), between)
    covariance = covariance + torch.kron(torch.eye(pictures).double(), within)
    return MultivariateNormal(model.mean.repeat(pictures), covariance)


def test_what_stays_with_a_person_is_learned(model: SamePerson) -> None:
    between, within = covariances(model)
    assert (between - MIX.T @ BETWEEN @ MIX).abs().max() < 0.6
    assert (within - MIX.T @ MIX).abs().max() < 0.2


def test_bits_are_those_of_two_gaussians() -> None:
    """Closed form: ½ log₂ det(B + W)/det(W) of people who differ as B, under noise W; units do not matter."""
    numbers, identities = drawn(4000, 5, seed=3)
    expected = (torch.logdet(BETWEEN + torch.eye(A).double()) / 2).item() / math.log(2)
    assert SamePerson.learn_white(numbers, identities).bits == pytest.approx(expected, rel=0.05)
    mixed = SamePerson.learn_white(1000 * numbers @ MIX, identities).bits
    assert mixed == pytest.approx(expected, rel=0.05)
    chance = torch.randn(20_000, A, generator=torch.Generator().manual_seed(4)).double()
    assert SamePerson.learn_white(chance, identities).bits < 0.05, "nothing stays with a person"


@pytest.mark.parametrize(("bits", "people", "share"), [(3.0, 256, 0.5), (7.0, 256, 1.0), (9.0, 256, 1.0)])
def test_fanos_inequality(bits: float, people: int, share: float) -> None:
    assert fano(bits, people) == pytest.approx(share)


def test_no_attacker_names_more_than_the_bits_allow() -> None:
    """Not even one who knows both Gaussians, among people enough for Fano's inequality to say something."""
    numbers, identities = drawn(4096, 2, seed=5)
    model = SamePerson.learn(numbers, identities)
    scores = model.scores(numbers[::2], numbers[1::2], torch.arange(4096))
    assert identified(scores, torch.arange(4096)).float().mean() < fano(model.bits, 4096) < 0.5


def test_scores_are_conditional_densities_however_many_photographs_are_known(model: SamePerson) -> None:
    """Worked out with one dense Gaussian over probe and photographs together."""
    numbers, _ = drawn(3, 2, seed=1)
    known, identities = drawn(3, 3, seed=2)
    keep = torch.tensor([0, 3, 4, 6, 7, 8])  # one, two and three photographs
    known, identities = known[keep], identities[keep]
    scores = model.scores(numbers, known, identities)
    expected = torch.empty(len(numbers), 3, dtype=torch.float64)
    for person in range(3):
        theirs = known[identities == person].flatten()
        alone = joint(model, len(theirs) // A).log_prob(theirs)
        for i, probe in enumerate(numbers):
            both = joint(model, len(theirs) // A + 1).log_prob(torch.cat([probe, theirs]))
            expected[i, person] = both - alone
    constant = (scores - expected).mean()
    assert torch.allclose(scores - expected, constant.expand_as(scores), atol=1e-9)


def test_likeness_is_the_ratio_of_one_person_to_two(model: SamePerson) -> None:
    numbers, _ = drawn(2, 2, seed=3)
    found = model.likeness(numbers)
    for i, first in enumerate(numbers):
        for j, second in enumerate(numbers):
            one = joint(model, 2).log_prob(torch.cat([first, second]))
            two = joint(model, 1).log_prob(first) + joint(model, 1).log_prob(second)
            assert found[i, j].item() == pytest.approx((one - two).item(), abs=1e-9)


def test_a_learned_comparison_names_more_than_a_plain_one(model: SamePerson) -> None:
    """A floor of an attacker who takes every number for as reliable would be too low."""
    numbers, who = drawn(60, 1, seed=4)
    rng = torch.Generator().manual_seed(5)
    points = torch.randn(60, A, generator=rng, dtype=torch.float64) @ BETWEEN.sqrt()
    probes, photographs = (
        (points + torch.randn(60, A, generator=rng, dtype=torch.float64)) @ MIX for _ in range(2)
    )
    learned = identified(model.scores(probes, photographs, who), who).double().mean()
    plain = identified(-torch.cdist(probes, photographs), who).double().mean()
    assert learned > plain
    strangers = identified(model.scores(numbers, photographs, who), who).double().mean()
    assert strangers < 0.1, "numbers of other people name nobody"


def test_numbers_that_never_vary_and_more_of_them_than_pictures_do_no_harm() -> None:
    numbers, identities = drawn(6, 2, seed=6)
    wide = torch.cat([numbers, torch.zeros(12, 20).double()], dim=1)
    assert SamePerson.learn(wide, identities).scores(wide, wide, identities).isfinite().all()


def test_what_cannot_be_learned_or_compared_is_refused(model: SamePerson) -> None:
    numbers = torch.zeros(3, A)
    with pytest.raises(ValueError, match="3 pictures of 3 strangers do not tell"):
        SamePerson.learn(numbers, torch.arange(3))
    with pytest.raises(ValueError, match="3 pictures of 1 strangers do not tell"):
        SamePerson.learn(numbers, torch.zeros(3).long())
    with pytest.raises(ValueError, match="not finite"):
        SamePerson.learn(numbers / 0, torch.tensor([0, 0, 1]))
    with pytest.raises(ValueError, match="identity 1 has no known photograph"):
        model.scores(numbers, numbers, torch.tensor([0, 2, 2]))


def test_white_numbers_name_people_whatever_units_and_mixture_they_came_in() -> None:
    """The covariance that is learned is drawn to a multiple of one: without this, the floor of a network
    depends on the units of its answers, and is too low."""

    def found(mixture: Tensor) -> Tensor:
        (public, people), (known, whose), (probes, _) = (drawn(n, 2, seed=n) for n in (60, 41, 40))
        comparison = SamePerson.learn_white(public @ mixture, people)
        return comparison.scores(probes @ mixture, known @ mixture, whose)

    as_they_are = found(torch.eye(A).double())
    units = torch.diag(torch.tensor([1e-3, 1.0, 1.0, 1e3], dtype=torch.float64))
    assert torch.allclose(found(units @ MIX), as_they_are, atol=1e-6)


def test_numbers_that_follow_from_others_or_never_vary_tell_nothing_more() -> None:
    numbers, identities = drawn(50, 2, seed=4)
    (known, whose), (probes, _) = (drawn(n, 2, seed=n) for n in (41, 40))

    def more(some: Tensor) -> Tensor:
        return torch.cat([some, some[:, :1] + some[:, 1:2], torch.full((len(some), 1), 3.0)], dim=1)

    expected = SamePerson.learn_white(numbers, identities).scores(probes, known, whose)
    found = SamePerson.learn_white(more(numbers), identities)
    assert found.axes.shape == (A + 2, A)
    assert torch.allclose(found.scores(more(probes), more(known), whose), expected, atol=1e-6)


def test_a_number_that_is_not_finite_is_refused_and_tells_nobody_apart(model: SamePerson) -> None:
    """It would count as a person who is not recognised: perfect protection."""
    numbers, identities = drawn(20, 2, seed=5)
    numbers[3, 1] = torch.nan
    for use in (
        lambda: SamePerson.learn_white(numbers, identities),
        lambda: model.likeness(numbers),
        lambda: model.scores(numbers, numbers[:2], identities[:2]),
    ):
        with pytest.raises(ValueError, match="not finite"):
            use()
