from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_curve
from sklearn.metrics.pairwise import cosine_similarity

from facecrafter.metrics.proportions import wilson
from facecrafter.metrics.verification import fnir_at_fpir, likelihood_ratios, person_scores, tar_at_far


def some_scores(n: int = 300, people: int = 30, leak: float = 1.5) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    identities = torch.arange(n) % people
    scores = torch.randn(n, people, dtype=torch.float64).round(decimals=1)  # with ties
    scores[torch.arange(n), identities] += leak
    return scores, identities


def accepted_share(scores: np.ndarray, identities: np.ndarray, far: float) -> float:
    """The highest step of scikit-learn's ROC over all pairs at or below `far`."""
    genuine = np.eye(scores.shape[1], dtype=bool)[identities]
    false, true, _ = roc_curve(genuine.ravel(), scores.ravel(), drop_intermediate=False)
    return float(true[false <= far].max())


@pytest.mark.parametrize("far", [0.01, 0.001])
@pytest.mark.parametrize("leak", [0.0, 1.5, 8.0])
def test_rate_agrees_with_scikit_learns_roc(far: float, leak: float) -> None:
    scores, identities = some_scores(leak=leak)
    expected = accepted_share(scores.numpy(), identities.numpy(), far)
    assert tar_at_far(scores, identities, far).value == pytest.approx(expected, abs=1e-12)


def test_interval_finds_the_threshold_again_in_every_resample() -> None:
    """With a threshold kept from all images the interval would leave out that it is only estimated."""
    scores, identities = some_scores(n=120)
    rng, rates = np.random.default_rng(0), []
    for _ in range(300):
        people = rng.integers(0, 30, 30)
        drawn = np.concatenate([np.flatnonzero(identities.numpy() == person) for person in people])
        rates.append(accepted_share(scores.numpy()[drawn], identities.numpy()[drawn], 0.01))
    interval = tar_at_far(scores, identities, 0.01)
    assert interval.lo == pytest.approx(np.quantile(rates, 0.025), abs=0.03)
    assert interval.hi == pytest.approx(np.quantile(rates, 0.975), abs=0.03)


def test_without_knowledge_as_many_pass_as_impostors_do() -> None:
    scores, identities = some_scores(n=3000, leak=0.0)
    assert tar_at_far(scores, identities, 0.01).value == pytest.approx(0.01, abs=0.006)


def test_what_all_images_have_in_common_passes_for_nobody() -> None:
    """Average faces resemble everybody: high scores for all people alike are no verification."""
    scores = torch.full((100, 20), 0.9)
    assert tar_at_far(scores, torch.arange(100) % 20, 0.01).value == 0


def test_nobody_accepted_is_no_certainty() -> None:
    scores, identities = torch.zeros(100, 20), torch.arange(100) % 20
    scores[torch.arange(100), identities] = -1
    interval = tar_at_far(scores, identities, 0.01)
    assert interval.value == interval.lo == 0
    assert interval.hi >= wilson(0, 100).hi


def test_too_few_impostors_give_no_rate() -> None:
    """Of 90 impostor pairs not one in a thousand can be accepted: 0 would be a guess."""
    scores, identities = some_scores(n=10, people=10)
    assert math.isnan(tar_at_far(scores, identities, 0.001).value)
    assert not math.isnan(tar_at_far(*some_scores(n=40, people=30), 0.001).value)


def test_a_person_is_the_mean_direction_of_the_gallery() -> None:
    """Longer embeddings, which bright or sharp photographs may have, do not count more."""
    torch.manual_seed(0)
    features, gallery = torch.randn(5, 8), torch.randn(9, 8)
    people = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
    directions = (gallery / gallery.norm(dim=1, keepdim=True)).reshape(3, 3, 8).mean(dim=1)
    expected = torch.from_numpy(cosine_similarity(features, directions)).double()
    torch.testing.assert_close(person_scores(features, gallery, people), expected, rtol=0, atol=1e-6)
    longer = gallery * torch.tensor([5.0, 1, 1, 1, 1, 1, 1, 1, 1])[:, None]
    torch.testing.assert_close(person_scores(features, longer, people), expected, rtol=0, atol=1e-6)


def not_found(scores: list[list[float]], identities: list[int], fpir: float) -> float:
    """The lowest FNIR over all thresholds whose FPIR is allowed, search by search."""
    best = 1.0
    for threshold in {score for row in scores for score in row} | {math.inf}:
        false = missed = 0
        for row, person in zip(scores, identities, strict=True):
            others = [score for number, score in enumerate(row) if number != person]
            false += any(score >= threshold for score in others)
            missed += not (row[person] >= threshold and row[person] > max(others))
        if false <= fpir * len(scores):
            best = min(best, missed / len(scores))
    return best


@pytest.mark.parametrize("fpir", [0.01, 0.1])
@pytest.mark.parametrize("leak", [0.0, 2.5, 8.0])
def test_searches_agree_with_a_plain_loop_over_thresholds(fpir: float, leak: float) -> None:
    scores, identities = some_scores(n=200, people=10, leak=leak)
    expected = not_found(scores.tolist(), identities.tolist(), fpir)
    found = fnir_at_fpir(scores, identities, fpir)
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert found.lo <= found.value <= found.hi


def test_too_few_searches_or_nobody_else_give_no_rate() -> None:
    assert math.isnan(fnir_at_fpir(*some_scores(n=99, people=10), 0.01).value)
    assert math.isnan(fnir_at_fpir(torch.ones(200, 1), torch.zeros(200).long(), 0.01).value)


def test_who_is_not_in_the_gallery_is_named() -> None:
    with pytest.raises(ValueError, match="identity 1 has no gallery image"):
        person_scores(torch.ones(1, 2), torch.ones(2, 2), torch.tensor([0, 2]))


def some_densities(n: int = 130, people: int = 9) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log-densities of N probes for P people and for a stranger, each probe more or less usual, and whom they
    show."""
    torch.manual_seed(1)
    identities = torch.arange(n) % people
    densities = 2 * torch.randn(n, people, dtype=torch.float64)
    densities[torch.arange(n), identities] += 4
    usual = 40 * torch.randn(n, dtype=torch.float64)
    return densities + usual[:, None], usual - 1, identities


def ratio(densities: list[float], stranger: float, person: int, gallery: list[int]) -> float:
    """Of one person of those in the gallery to the others in it and a stranger, term by term."""
    others = [densities[other] for other in gallery if other != person] + [stranger]
    mean = sum(math.exp(other - stranger) for other in others) / len(others)
    return densities[person] - (stranger + math.log(mean))


def share_over(thresholds: set[float], allowed: float, impostors: list[float], hits: list[float]) -> float:
    """The largest share of hits above a threshold that at most the share `allowed` of the impostors reach."""
    reach = [
        sum(hit >= t for hit in hits) / len(hits)
        for t in thresholds
        if sum(impostor >= t for impostor in impostors) <= allowed * len(impostors)
    ]
    return max(reach)


def test_open_set_figures_of_densities_are_those_of_plain_searches() -> None:
    """Every pair and every search by itself, with the gallery that it has. With the own person in the gallery
    of an impostor, who is to be nobody that the attacker knows, a defence would look worse than it is."""
    densities, strangers, identities = some_densities()
    scores = likelihood_ratios(densities, strangers, identities)
    first = densities.argmax(dim=1) == identities
    everybody = list(range(densities.shape[1]))
    genuine, impostors, highest, named = [], [], [], []
    for row, stranger, own in zip(densities.tolist(), strangers.tolist(), identities.tolist(), strict=True):
        without = [person for person in everybody if person != own]
        enrolled = [ratio(row, stranger, person, everybody) for person in everybody]
        genuine.append(enrolled[own])
        wrong = [ratio(row, stranger, person, without) for person in without]
        impostors += wrong
        highest.append(max(wrong))
        named.append(enrolled[own] if max(enrolled) == enrolled[own] else -math.inf)
    thresholds = {*genuine, math.inf}
    verified, found = (
        tar_at_far(scores, identities, 0.01),
        fnir_at_fpir(scores, identities, 0.5, first=first),
    )
    assert verified.value == pytest.approx(share_over(thresholds, 0.01, impostors, genuine), abs=1e-12)
    assert found.value == pytest.approx(1 - share_over(thresholds, 0.5, highest, named), abs=1e-12)
    assert 0.1 < verified.value < 0.9
    assert 0.1 < found.value < 0.9
    assert found.value != fnir_at_fpir(scores, identities, 0.5).value, "who is first counts"
    assert verified.lo < verified.value < verified.hi
    others = scores[torch.ones_like(scores, dtype=torch.bool).scatter_(1, identities[:, None], False)]
    torch.testing.assert_close(others, torch.tensor(impostors, dtype=torch.float64), rtol=0, atol=1e-9)


def test_how_usual_a_probe_is_counts_for_nobody() -> None:
    """One threshold is for all probes: a constant in all densities of one would decide whether it passes."""
    densities, strangers, identities = some_densities()
    moved = torch.linspace(-900, 900, len(densities), dtype=torch.float64)
    torch.testing.assert_close(
        likelihood_ratios(densities + moved[:, None], strangers + moved, identities),
        likelihood_ratios(densities, strangers, identities),
        rtol=0,
        atol=1e-9,
    )


def test_ratios_of_densities_that_are_far_apart_keep_their_digits() -> None:
    """Against somebody 2000 likelier than all others these are nothing, and by subtraction would be lost."""
    densities = torch.tensor([[2000.0, 1.0, 0.0], [-3000.0, -3001.0, -3500.0]], dtype=torch.float64)
    found = likelihood_ratios(densities, torch.tensor([0.0, -9000.0]).double(), torch.tensor([0, 2]))
    first = [2000 - math.log((math.e + 2) / 3), 1 - math.log(2 / 2), 0 - math.log((math.e + 1) / 2)]
    second = [1 + math.log(2), -1 + math.log(2), -3500 + 3000 - math.log((1 + math.exp(-1)) / 3)]
    torch.testing.assert_close(found, torch.tensor([first, second], dtype=torch.float64), rtol=0, atol=1e-9)


def test_one_person_is_held_against_a_stranger() -> None:
    found = likelihood_ratios(torch.tensor([[3.0]]).double(), torch.tensor([1.0]).double(), torch.tensor([0]))
    assert found.tolist() == [[2.0]]
    assert math.isnan(tar_at_far(found, torch.tensor([0]), 0.01).value)
