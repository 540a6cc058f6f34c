from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from torch.nn import functional as F

from facecrafter.metrics import clustered_balanced_accuracy
from facecrafter.metrics.utility import (
    MeanAUC,
    attribute_aucs,
    mean_auc,
    weighted_aucs,
    weighted_balanced_accuracies,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 3)), min_size=2, max_size=40))
def test_auc_agrees_with_scikit_learn_on_tied_and_weighted_scores(lines: list[tuple[int, bool, int]]) -> None:
    scores, targets, weights = (torch.tensor(column) for column in zip(*lines, strict=True))
    seen = targets[weights > 0]
    value = weighted_aucs(scores.float(), targets, weights[None].double()).item()
    if seen.unique().numel() < 2:
        assert math.isnan(value)
    else:
        assert value == pytest.approx(roc_auc_score(targets, scores, sample_weight=weights), abs=1e-12)


def test_balanced_accuracy_is_scikit_learns() -> None:
    rng = torch.Generator().manual_seed(0)
    decided, targets = (torch.randint(2, (40, 3), generator=rng) for _ in range(2))
    weights = torch.randint(1, 4, (40,), generator=rng)
    found = weighted_balanced_accuracies(decided, targets, weights[None].double())[0]
    columns = zip(targets.T, decided.T, strict=True)
    expected = [balanced_accuracy_score(*column, sample_weight=weights) for column in columns]
    assert found.tolist() == pytest.approx(expected, abs=1e-12)
    targets[:, 1] = 0
    assert weighted_balanced_accuracies(decided, targets, weights[None].double())[0].isnan()[1]
    left = clustered_balanced_accuracy(decided, targets, torch.arange(40) // 2)
    assert left.lo < left.value < left.hi
    every = (balanced_accuracy_score(targets[:, at], decided[:, at]) for at in (0, 2))
    assert left.value == pytest.approx(sum(every) / 2), "of the columns that have both classes"


def test_a_column_of_one_class_is_skipped_and_said() -> None:
    scores = torch.tensor([[0.1, 0.3, 0.0], [0.2, 0.1, 0.0], [0.3, 0.4, 0.0], [0.4, 0.2, 0.0]])
    targets = torch.tensor([[0, 1, 0], [0, 1, 1], [1, 1, 0], [1, 1, 1]])
    assert mean_auc(scores, targets) == (0.75, (0, 2)), (
        "perfect and undecided; the middle column says nothing"
    )
    assert attribute_aucs(scores, targets).isnan().tolist() == [False, True, False]


def test_no_usable_column_is_not_a_number_rather_than_zero() -> None:
    result = mean_auc(torch.rand(3, 1), torch.ones(3, 1))
    assert math.isnan(result.value)
    assert result.columns == ()


def test_classes_are_scored_one_against_the_rest() -> None:
    torch.manual_seed(0)
    scores, classes = torch.randn(60, 4).softmax(dim=1), torch.arange(60) % 4
    expected = roc_auc_score(classes, scores, multi_class="ovr", average="macro")
    assert mean_auc(scores, F.one_hot(classes)).value == pytest.approx(expected, abs=1e-6)


def test_metric_over_batches_equals_the_function_over_all() -> None:
    torch.manual_seed(0)
    scores, targets = torch.randn(50, 3), torch.randint(0, 2, (50, 3)).float()
    metric = MeanAUC()
    for part in torch.arange(50).split(20):
        metric.update(scores[part], targets[part], rows=part)
    assert metric.compute().item() == pytest.approx(mean_auc(scores, targets).value, abs=1e-6)


def test_metric_takes_class_numbers() -> None:
    scores, classes = torch.tensor([[2.0, 1.0], [0.0, 1.0], [0.5, 0.4]]), torch.tensor([0, 1, 0])
    metric = MeanAUC()
    metric.update(scores, classes, rows=torch.arange(3))
    assert metric.compute().item() == 0.875, (
        "the first class is told perfectly, the second ties once: (1 + 3/4) / 2"
    )


@pytest.mark.parametrize(
    ("scores", "targets", "message"),
    [
        (torch.zeros(3, 2), torch.zeros(3, 1), "must both be"),
        (torch.full((3, 1), torch.nan), torch.zeros(3, 1), "not finite"),
        (torch.zeros(3, 1), torch.tensor([[0], [1], [2]]), "one_hot"),
    ],
)
def test_what_cannot_be_scored_is_refused(scores: torch.Tensor, targets: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mean_auc(scores, targets)
