from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, f1_score

from facecrafter.metrics.agreement import chance_test, clustered_macro_f1, confusion, macro_f1

PAPER = torch.tensor(
    [[7, 11, 11, 17, 24], [17, 8, 21, 6, 18], [15, 4, 25, 11, 15], [7, 10, 4, 24, 25], [15, 9, 11, 8, 27]]
)


def answers(people: int, knowledge: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Ten questions; who does not know an answer chooses blindly."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.arange(10)[torch.randperm(10, generator=generator)] % 5
    blind = torch.randint(5, (people, 10), generator=generator)
    knows = torch.rand(people, 10, generator=generator) < knowledge
    return torch.where(knows, truth, blind), truth


def test_macro_f1_of_the_papers_table() -> None:
    """Table VI: 350 answers of 35 people, 91 right, macro-F1 0.251."""
    assert (PAPER.sum().item(), PAPER.trace().item()) == (350, 91)
    assert round(macro_f1(PAPER).item(), 3) == 0.251


def test_table_and_f1_agree_with_scikit_learn() -> None:
    choices, truth = answers(12, knowledge=0.3)
    choices[choices == 3] = 4  # an option that nobody chooses
    right, chosen = truth.expand(12, -1).flatten(), choices.flatten()
    table = confusion(choices, truth, 5)
    assert table.tolist() == confusion_matrix(right, chosen, labels=range(5)).tolist()
    expected = f1_score(right, chosen, labels=range(5), average="macro", zero_division=0)
    assert macro_f1(table).item() == pytest.approx(expected, abs=1e-6)


def test_an_option_that_never_occurs_counts_as_nothing() -> None:
    table = torch.diag(torch.tensor([3, 3, 0]))
    assert macro_f1(table).item() == pytest.approx(2 / 3)


def test_interval_resamples_participants_not_answers() -> None:
    """Half of the people know everything, half nothing: it is uncertain how many of the next ones do."""
    truth = torch.arange(10) % 5
    choices = torch.stack([truth if person % 2 else (truth + 1) % 5 for person in range(20)])
    rng = np.random.default_rng(0)
    drawn = [
        f1_score(truth.repeat(20), choices[rng.integers(0, 20, 20)].flatten(), average="macro")
        for _ in range(300)
    ]
    value, lo, hi = clustered_macro_f1(choices, truth, 5)
    assert value == pytest.approx(0.5)
    assert (lo, hi) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.06)
    assert hi - lo > 0.35, "200 independent answers would give 0.14"


def test_one_participant_has_no_interval() -> None:
    value, lo, _ = clustered_macro_f1(*answers(1, knowledge=0.5), 5)
    assert math.isfinite(value)
    assert math.isnan(lo)


def test_chance_agrees_with_all_assignments_of_five_questions() -> None:
    truth = torch.tensor([2, 0, 4, 1, 3])
    choices = torch.tensor([[2, 0, 4, 1, 1], [2, 0, 3, 3, 3], [0, 0, 4, 2, 3]])
    observed = macro_f1(confusion(choices, truth, 5))
    values = [macro_f1(confusion(choices, torch.tensor(other), 5)) for other in permutations(range(5))]
    expected = np.mean([value >= observed - 1e-9 for value in values])
    assert chance_test(choices, truth, 5) == pytest.approx(expected, abs=0.01)


def test_recognition_is_shown() -> None:
    assert chance_test(*answers(20, knowledge=0.5), 5) < 0.01


@pytest.mark.strict
def test_what_everybody_falls_for_is_not_taken_for_recognition() -> None:
    """Each picture makes all 30 people choose the same option by looks alone. Of 100 polls at most about 5
    may seem recognised; a binomial test of the 300 answers would say so of most."""
    found, binomial = 0, 0
    for seed in range(100):
        generator = torch.Generator().manual_seed(seed)
        truth = torch.arange(10)[torch.randperm(10, generator=generator)] % 5
        choices = torch.randint(5, (10,), generator=generator).expand(30, -1)
        found += chance_test(choices, truth, 5) <= 0.05
        binomial += int((choices == truth).sum()) > 60 + 1.645 * (300 * 0.16) ** 0.5
    assert found <= 10
    assert binomial > 25
