from __future__ import annotations

import itertools

import pytest
import torch
from small_networks import seeded
from torch import Tensor

from facecrafter.attacks.averaging import average, match, shuffled


def matched(queries: Tensor) -> Tensor:
    """The queries (Q, N, C, h, w), each in the order of the first as `match` finds it."""
    return queries[torch.arange(len(queries))[:, None], match(queries)]


def queries(noise: float, count: int = 4, images: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    """Features of the images, noisy features of each query in an order of its own, and those orders."""
    clean = torch.randn(images, 3, 2, 2, generator=seeded(1))
    orders, noisy = [torch.arange(images)], [clean]
    for number in range(1, count):
        features, order = shuffled(clean, seeded(10 + number))
        orders.append(order)
        noisy.append(features)
    stack = torch.stack(noisy)
    return clean, stack + noise * torch.randn(stack.shape, generator=seeded(2)), torch.stack(orders)


def test_shuffling_says_who_went_where() -> None:
    features = torch.randn(20, 3, 2, 2, generator=seeded(1))
    result, order = shuffled(features, seeded())
    assert sorted(order.tolist()) == list(range(20))
    assert order.tolist() != list(range(20))
    for position, came_from in enumerate(order.tolist()):
        assert torch.equal(result[position], features[came_from])
    again, same = shuffled(features, seeded())
    assert torch.equal(result, again)
    assert torch.equal(order, same)


def test_a_known_permutation_is_found() -> None:
    clean, shown, orders = queries(noise=0.3)
    found = match(shown)
    for order, positions in zip(orders, found, strict=True):
        assert torch.equal(order[positions], torch.arange(12)), "the image at `positions[i]` is image i"
    error = (average(matched(shown)) - clean).square().mean()
    assert error == pytest.approx(0.3**2 / 4, rel=0.2), "the noise of four queries averages out"


def test_plain_averaging_of_shuffled_queries_mixes_people() -> None:
    clean, shown, _ = queries(noise=0.0)
    assert (average(shown) - clean).square().mean() > 0.3
    torch.testing.assert_close(average(matched(shown)), clean)


def test_each_query_is_used_once_in_the_cheapest_way() -> None:
    """Against a search through all 120 orders: the nearest feature of each image alone may repeat one."""
    reference = torch.randn(5, 3, 2, 2, generator=seeded(3))
    query = torch.randn(5, 3, 2, 2, generator=seeded(4))

    def cost(order: tuple[int, ...]) -> float:
        return (reference - query[list(order)]).double().square().sum().item()

    best = min(itertools.permutations(range(5)), key=cost)
    nearest = torch.cdist(reference.flatten(1), query.flatten(1)).argmin(dim=1)
    assert match(torch.stack([reference, query]))[1].tolist() == list(best)
    assert len(nearest.unique()) < 5, "the example must tell the two apart"


def test_a_wrong_assignment_draws_no_other_after_it() -> None:
    """Where noise leaves only some to be found, the first ones' errors must not spread to later queries."""
    _, shown, orders = queries(noise=1.0, count=5, images=40)
    found = match(shown)
    right = (orders.gather(1, found) == torch.arange(40)).double().mean(dim=1)
    assert 0.2 < right[1:].mean() < 0.8, "the example must be a hard one"
    assert torch.equal(match(shown[[0, 4]])[1], found[4])


def test_queries_in_one_order_are_left_alone() -> None:
    clean = torch.randn(6, 3, 2, 2, generator=seeded())
    shown = torch.stack([clean, clean + 0.01, clean - 0.01])
    assert torch.equal(matched(shown), shown)
    torch.testing.assert_close(average(shown), clean)


def test_an_average_goes_over_the_queries_that_show_a_channel() -> None:
    """Zeros of dropped channels would shrink the mean, and channel dropout look safe from averaging."""
    rng = torch.Generator().manual_seed(0)
    features = torch.randn(5, 8, 3, 3, generator=rng)
    features[:, 3] = 0  # nobody ever sees it
    told = torch.rand(4, 5, 8, 1, 1, generator=rng) > 0.5
    told[0] |= ~told.any(dim=0)
    torch.testing.assert_close(average(told * features), features)
    noisy = torch.randn(4, 5, 8, 3, 3, generator=rng)
    torch.testing.assert_close(average(noisy), noisy.mean(dim=0))
