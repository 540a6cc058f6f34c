"""Of f's answers one of a few words is kept, the nearest, and so many only that the bits say."""

from __future__ import annotations

import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from facecrafter.crafter.codebook import Codebook

N, ANSWERS, BITS = 600, 5, 4


def answers() -> Tensor:
    """(N, A), that go together and have means and spreads of their own."""
    rng = torch.Generator().manual_seed(0)
    mixing = torch.randn(ANSWERS, ANSWERS, generator=rng)
    return torch.randn(N, ANSWERS, generator=rng) @ mixing * torch.logspace(-1, 1, ANSWERS) + 3


def learnt(bits: int, numbers: Tensor) -> tuple[Codebook, Tensor]:
    codebook = Codebook(numbers.shape[1], BITS).requires_grad_(False)
    shares, codebook.bits = codebook.learn(numbers), bits
    return codebook, shares


@pytest.mark.parametrize("bits", range(1, BITS + 1))
def test_no_more_words_are_spoken_than_the_bits_say(bits: int) -> None:
    """Also of answers that the codebook never heard: what is proved rests on this alone."""
    codebook, _ = learnt(bits, answers())
    others = 100 * torch.randn(5000, ANSWERS, generator=torch.Generator().manual_seed(1))
    for heard in (answers(), others):
        assert len(codebook(heard).unique(dim=0)) <= 2**bits
    assert len(codebook(answers()).unique(dim=0)) == 2**bits, "fewer words than were paid for"


@pytest.mark.parametrize("bits", range(1, BITS + 1))
def test_centres_are_at_rest_and_as_near_as_those_of_another_search(bits: int) -> None:
    """Against scikit-learn, which starts elsewhere: centres that are farther would cost f for nothing."""
    numbers = answers()
    _, shares = learnt(bits, numbers)
    units = ((numbers - numbers.mean(dim=0)) / numbers.std(dim=0, correction=0)).numpy()
    best = KMeans(2**bits, n_init=10, random_state=0).fit(units)
    assert 1 - shares[bits - 1].item() <= 1.08 * best.inertia_ / units.size
    assert (shares.diff() > 0).all()


def test_clumps_are_found_and_told_apart() -> None:
    """In closed form: four clumps, at (±1, ±3) around (5, 0), are four words, each clump's mean."""
    rng = torch.Generator().manual_seed(0)
    clumps = torch.tensor([[1.0, 3.0], [1.0, -3.0], [-1.0, 3.0], [-1.0, -3.0]]) + torch.tensor([5.0, 0.0])
    numbers = (clumps[:, None] + 0.01 * torch.randn(4, 50, 2, generator=rng)).flatten(0, 1)
    codebook, shares = learnt(2, numbers)
    torch.testing.assert_close(codebook(numbers), clumps.repeat_interleave(50, 0), atol=0.02, rtol=0)
    assert shares[1].item() == pytest.approx(1, abs=1e-3)


def test_an_answer_that_the_words_do_not_know_is_its_mean() -> None:
    """Stretched to its full spread it would be noise that f takes for a decision."""
    rng = torch.Generator().manual_seed(0)
    known = torch.tensor([-5.0, 5.0]).repeat(N // 2)[:, None].expand(-1, 8)
    known = known + 0.1 * torch.randn(N, 1, generator=rng)
    unknown = 2 + torch.randn(N, 1, generator=rng)
    numbers = torch.cat([known, unknown], dim=1)
    told = learnt(1, numbers)[0](numbers)
    assert (told[:, 8] == told[0, 8]).all()
    assert told[0, 8].item() == pytest.approx(unknown.mean().item(), abs=1e-5)
    torch.testing.assert_close(told[:, :8], known, atol=0.5, rtol=0)


def test_the_same_answers_get_the_same_word_alone_and_among_others() -> None:
    """Two words of one picture would tell more than the bits; products of matrices round with their size."""
    codebook, _ = learnt(BITS, answers())
    centres = codebook.centres[2**BITS - 2 :] * codebook.spread + codebook.mean
    pairs = torch.combinations(torch.arange(len(centres)))
    borders = centres[pairs].mean(dim=1)
    borders = torch.cat([borders, borders + 1e-6 * torch.randn(borders.shape)])
    alone = torch.cat([codebook(one[None]) for one in borders])
    assert torch.equal(codebook(borders), alone)
    assert torch.equal(codebook(borders[:30]), alone[:30])


def test_an_answer_that_is_no_number_gets_no_word() -> None:
    codebook, _ = learnt(2, answers())
    for broken in (float("nan"), float("inf")):
        with pytest.raises(ArithmeticError, match="not finite"):
            codebook(torch.tensor([[broken] + [0.0] * (ANSWERS - 1)]))


def test_every_answer_keeps_its_mean_and_spread_so_that_thresholds_hold() -> None:
    numbers = answers()
    told = learnt(3, numbers)[0](numbers)
    torch.testing.assert_close(told.mean(dim=0), numbers.mean(dim=0), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(told.std(dim=0), numbers.std(dim=0), atol=1e-3, rtol=1e-3)


def test_answers_that_do_not_vary_and_few_pictures_break_nothing() -> None:
    numbers = answers()
    numbers[:, 1] = 7
    told = learnt(2, numbers)[0](numbers)
    assert (told[:, 1] == 7).all()
    assert (told.std(dim=0)[[0, 2, 3, 4]] > 0).all()
    few, _ = learnt(BITS, answers()[:3])
    torch.testing.assert_close(few(answers()[:3]), answers()[:3], atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="none of f's answers varies"):
        learnt(1, torch.ones(9, ANSWERS))
    for bits in (0, 17):
        with pytest.raises(ValueError, match=f"bits={bits} must lie between 1 and 16"):
            Codebook(ANSWERS, bits)
