"""Of f's answers the combinations that tell most of the attributes are kept, and nothing beside them."""

from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import LinearRegression
from torch import Tensor

from facecrafter.crafter.reduced_rank import ReducedRank

N, ANSWERS, ATTRIBUTES = 400, 6, 5


def pictures() -> tuple[Tensor, Tensor]:
    """Answers (N, A) that go together, and attributes (N, Y) of which they tell something."""
    rng = torch.Generator().manual_seed(0)
    hidden = torch.randn(N, ANSWERS, generator=rng, dtype=torch.float64)
    mixing = torch.randn(ANSWERS, ANSWERS, generator=rng, dtype=torch.float64)
    tells = torch.randn(ANSWERS, ATTRIBUTES, generator=rng, dtype=torch.float64)
    noise = torch.randn(N, ATTRIBUTES, generator=rng, dtype=torch.float64)
    return hidden @ mixing + 3, (hidden @ tells + noise > 0).double()


def learnt(rank: int) -> tuple[ReducedRank, Tensor]:
    reduced = ReducedRank(ANSWERS).double().requires_grad_(False)
    shares, reduced.rank = reduced.learn(*pictures()), rank
    return reduced, shares


@pytest.mark.parametrize("rank", range(1, ANSWERS + 1))
def test_no_other_combinations_tell_more_of_the_attributes(rank: int) -> None:
    """Against scikit-learn's regression, cut to its leading directions (Eckart and Young)."""
    answers, attributes = pictures()
    y = (attributes - attributes.mean(dim=0)) / attributes.std(dim=0, correction=0)
    reduced, shares = learnt(rank)
    told = reduced(answers)
    assert torch.linalg.matrix_rank(told - told.mean(dim=0), rtol=1e-9) == rank
    found = torch.from_numpy(LinearRegression().fit(told, y).predict(told)).square().sum() / y.numel()
    fitted = torch.from_numpy(LinearRegression().fit(answers, y).predict(answers))
    best = torch.linalg.svdvals(fitted)[:rank].square().sum() / y.numel()
    assert found.item() == pytest.approx(best.item(), rel=1e-9)
    assert shares[:rank].sum().item() == pytest.approx(best.item(), rel=1e-9)


def test_every_answer_keeps_its_mean_and_spread_so_that_thresholds_hold() -> None:
    answers, _ = pictures()
    reduced, _ = learnt(2)
    told = reduced(answers)
    torch.testing.assert_close(told.mean(dim=0), answers.mean(dim=0))
    torch.testing.assert_close(told.std(dim=0), answers.std(dim=0))
    torch.testing.assert_close(learnt(ANSWERS)[0](answers), answers)


def test_what_is_made_of_others_is_kept_last() -> None:
    """Or of fewer pictures than answers, as in a trial of a study."""
    answers, attributes = pictures()
    answers[:, 1] = answers[:, 0]
    reduced = ReducedRank(ANSWERS).double().requires_grad_(False)
    reduced.learn(answers, attributes)
    reduced.rank = ANSWERS - 1
    torch.testing.assert_close(reduced(answers), answers, atol=1e-4, rtol=0)
    reduced.learn(answers[:3], attributes[:3])
    assert reduced(answers).isfinite().all()
    with pytest.raises(ValueError, match="none of f's answers varies"):
        reduced.learn(torch.ones(9, ANSWERS), attributes[:9])


def test_an_answer_of_which_nothing_is_kept_is_its_mean() -> None:
    reduced = ReducedRank(4)
    reduced.rank = 2
    answers = torch.randn(5, 4)
    torch.testing.assert_close(reduced(answers), answers * torch.tensor([1.0, 1.0, 0.0, 0.0]))
