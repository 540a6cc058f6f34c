"""An eraser takes out what tells people apart, and as little else as it can."""

from __future__ import annotations

import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LinearRegression
from torch import Tensor

from facecrafter.crafter.erasure import Eraser

PEOPLE, EACH, ELEMENTS = 6, 12, 20


def photographs(seed: int = 0, people: int = PEOPLE, each: int = EACH) -> tuple[Tensor, Tensor]:
    """Features (N, n) of people who differ along the first three elements, and whom they show."""
    rng = torch.Generator().manual_seed(seed)
    who = torch.arange(people).repeat_interleave(each)
    mixing = torch.randn(ELEMENTS, ELEMENTS, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    own = torch.zeros(people, ELEMENTS, dtype=torch.float64)
    own[:, :3] = 3 * torch.randn(people, 3, generator=rng, dtype=torch.float64)
    spread = torch.randn(len(who), ELEMENTS, generator=rng, dtype=torch.float64)
    return (own[who] + spread) @ mixing + 5, who


def learnt(features: Tensor, who: Tensor, rank: int, shrinkage: float = 0.0) -> Eraser:
    eraser = Eraser(features.shape[1], rank).double().requires_grad_(False)
    eraser.learn(features, who, shrinkage)
    return eraser


def test_no_linear_map_reads_who_it_is() -> None:
    """With all directions erased the people's means coincide, and regression explains nothing."""
    features, who = photographs()
    left = learnt(features, who, PEOPLE - 1)(features)
    means = torch.stack([left[who == person].mean(dim=0) for person in range(PEOPLE)])
    torch.testing.assert_close(means, features.mean(dim=0).expand_as(means))
    one_hot = torch.nn.functional.one_hot(who).numpy()
    explained = [LinearRegression().fit(x, one_hot).score(x, one_hot) for x in (features, left)]
    assert explained[0] > 0.5
    assert explained[1] == pytest.approx(0, abs=1e-9)


def test_the_directions_are_fishers() -> None:
    """Against scikit-learn: what is read from a feature spans its discriminants."""
    features, who = photographs()
    eraser = learnt(features, who, 3)
    fisher = torch.from_numpy(
        LinearDiscriminantAnalysis(solver="eigen").fit(features.numpy(), who.numpy()).scalings_[:, :3]
    )
    ours, theirs = (torch.linalg.qr(directions)[0] for directions in (eraser.right, fisher))
    torch.testing.assert_close(torch.linalg.svdvals(ours.T @ theirs), torch.ones(3, dtype=torch.float64))


def test_what_is_erased_twice_is_erased_once() -> None:
    features, who = photographs()
    once = (eraser := learnt(features, who, 3, shrinkage=0.5))(features)
    torch.testing.assert_close(eraser(once), once)


def test_what_people_share_stays() -> None:
    """On people nobody learnt from: what tells them apart is gone, nearly all of the rest is there."""
    eraser = learnt(*photographs(people=60), rank=3)
    features, who = photographs(seed=1)
    left = eraser(features)

    def between(x: Tensor) -> Tensor:
        return torch.stack([x[who == person].mean(dim=0) for person in range(PEOPLE)]).var(dim=0).sum()

    def within(x: Tensor) -> Tensor:
        return torch.stack([x[who == person].var(dim=0) for person in range(PEOPLE)]).sum()

    # A mean of twelve keeps a twelfth of the spread within people.
    assert between(left) < 0.15 * between(features)
    assert within(left) > 0.7 * within(features)


def test_more_elements_than_features_is_solved_in_features() -> None:
    """As in the larger unknowns, which padding with elements that never vary shows."""
    features, who = photographs()
    padded = torch.cat([features, torch.zeros(len(features), 80, dtype=torch.float64)], dim=1)
    assert padded.shape[1] > len(padded)
    tall, wide = learnt(features, who, 4), learnt(padded, who, 4)
    torch.testing.assert_close(wide(padded)[:, :ELEMENTS], tall(features))


def test_shares_say_what_lies_between_people() -> None:
    """All of it where nothing varies within people, none of it where people differ by chance alone."""
    features, who = photographs()
    means = torch.stack([features[who == person].mean(dim=0) for person in range(PEOPLE)])[who]
    tiny = 1e-6 * torch.randn(features.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert Eraser(ELEMENTS, 3).double().learn(means + tiny, who, 0.0).tolist() == pytest.approx([1, 1, 1])
    noise = torch.randn(6000, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    shares = Eraser(4, 4).double().learn(noise, torch.arange(2000).repeat_interleave(3), 0.0)
    assert shares.abs().max() < 0.05
    assert shares.tolist() == sorted(shares.tolist(), reverse=True)


def test_too_few_features_are_refused() -> None:
    features, who = photographs(people=2, each=2)
    with pytest.raises(ValueError, match="lower rank=5"):
        learnt(features, who, 5)


def test_what_is_left_and_what_is_taken() -> None:
    """They add up to the feature, and the derivative is that of finite differences."""
    features, who = photographs()
    maps = features.view(-1, 5, 2, 2)
    eraser = learnt(features, who, 3, shrinkage=0.5)
    at, derivative = eraser.parted(maps, 2.5)
    torch.testing.assert_close(at[:, :5], eraser(maps))
    torch.testing.assert_close(at[:, :5] + at[:, 5:] / 2.5, maps)
    rng = torch.Generator().manual_seed(6)
    v, u = (torch.randn(like.shape, generator=rng, dtype=torch.float64) for like in (maps, at))
    torch.testing.assert_close(derivative.jvp(v), eraser.parted(maps + v, 2.5)[0] - at)  # affine
    torch.testing.assert_close((u * derivative.jvp(v)).sum(), (derivative.vjp(u) * v).sum())
