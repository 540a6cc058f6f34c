from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_curve
from sklearn.metrics.pairwise import cosine_similarity

from facecrafter.metrics.proportions import wilson
from facecrafter.metrics.verification import fnir_at_fpir, person_scores, tar_at_far


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
