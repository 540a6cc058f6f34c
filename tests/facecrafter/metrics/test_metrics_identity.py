from __future__ import annotations

import pytest
import torch
from sklearn.metrics import top_k_accuracy_score
from sklearn.neighbors import NearestNeighbors

from facecrafter.metrics.identity import (
    feature_similarity,
    identified,
    nearest_neighbours,
)

SCORES = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
IDENTITIES = torch.tensor([1, 1, 0])


def test_rank_of_the_true_identity() -> None:
    assert identified(SCORES, IDENTITIES).tolist() == [True, False, False]
    assert identified(SCORES, IDENTITIES, k=2).tolist() == [True, True, False]
    assert identified(SCORES, IDENTITIES, k=3).all()


def test_equal_scores_are_no_knowledge() -> None:
    assert not identified(torch.ones(2, 4), torch.tensor([0, 3])).any()
    assert not identified(torch.full((2, 4), torch.nan), torch.tensor([0, 3])).any()


@pytest.mark.parametrize("k", [1, 5])
def test_rank_agrees_with_scikit_learn(k: int) -> None:
    torch.manual_seed(0)
    identities = torch.arange(200) % 20
    scores = torch.randn(200, 20) + torch.nn.functional.one_hot(identities)
    expected = top_k_accuracy_score(identities, scores, k=k)
    assert identified(scores, identities, k).double().mean().item() == pytest.approx(expected)


def test_feature_similarity_is_a_cosine_per_image() -> None:
    first = torch.tensor([[3.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    second = torch.tensor([[5.0, 0.0], [1.0, 0.0], [-2.0, 0.0]])
    assert feature_similarity(first, second).tolist() == pytest.approx([1, 0.5**0.5, -1])


def test_nearest_neighbours_agree_with_scikit_learn() -> None:
    torch.manual_seed(0)
    gallery, people = torch.randn(120, 16), torch.arange(120) % 30
    features, identities = torch.randn(50, 16) + gallery[:50], people[:50]
    distances, nearest = NearestNeighbors(n_neighbors=1, metric="cosine").fit(gallery).kneighbors(features)
    found = nearest_neighbours(features, identities, gallery, people)
    assert found.distance.tolist() == pytest.approx(distances[:, 0].tolist(), abs=1e-6)
    assert found.same_person.tolist() == (people[nearest[:, 0]] == identities).tolist()


def test_a_tie_between_people_names_nobody() -> None:
    """Features that are all alike would else pass for the person whose picture comes first."""
    gallery, people = torch.ones(4, 3), torch.tensor([0, 0, 1, 1])
    found = nearest_neighbours(torch.ones(2, 3), torch.tensor([0, 1]), gallery, people)
    assert found.distance.tolist() == pytest.approx([0, 0], abs=1e-12)
    assert not found.same_person.any()
