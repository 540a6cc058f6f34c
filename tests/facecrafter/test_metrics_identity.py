from __future__ import annotations

import pytest
import torch

from facecrafter.metrics.identity import IdentificationAccuracy, feature_similarity, identified

SCORES = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
IDENTITIES = torch.tensor([1, 1, 0])


def test_rank_of_the_true_identity() -> None:
    assert identified(SCORES, IDENTITIES).tolist() == [True, False, False]
    assert identified(SCORES, IDENTITIES, k=2).tolist() == [True, True, False]
    assert identified(SCORES, IDENTITIES, k=3).all()


def test_equal_scores_are_no_knowledge() -> None:
    assert not identified(torch.ones(2, 4), torch.tensor([0, 3])).any()
    assert not identified(torch.full((2, 4), torch.nan), torch.tensor([0, 3])).any()


def test_metric_over_batches() -> None:
    metric = IdentificationAccuracy(k=2)
    metric.update(SCORES[:1], IDENTITIES[:1])
    metric.update(SCORES[1:], IDENTITIES[1:])
    assert metric.compute().item() == pytest.approx(2 / 3)


def test_feature_similarity_is_a_cosine_per_image() -> None:
    first = torch.tensor([[3.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    second = torch.tensor([[5.0, 0.0], [1.0, 0.0], [-2.0, 0.0]])
    assert feature_similarity(first, second).tolist() == pytest.approx([1, 0.5**0.5, -1])
