"""Losses of the critic against plain loops: a sign or a mean in the wrong place trains it backwards."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from facecrafter.losses.wasserstein import earth_mover, gradient_penalty
from facecrafter.nets.critic import Critic


def faces(n: int) -> torch.Tensor:
    return torch.rand(n, 3, 32, 32, dtype=torch.float64)


def test_earth_mover_is_the_difference_of_means() -> None:
    critic = Critic(32, width=4).double()
    real, fake = faces(3), faces(5)
    by_hand = sum(critic(x[None]).item() for x in real) / 3 - sum(critic(x[None]).item() for x in fake) / 5
    assert earth_mover(critic, real, fake).item() == pytest.approx(
        by_hand, rel=1e-5
    )  # scores leave as float32


def test_penalty_of_a_linear_critic_is_known() -> None:
    """D(x) = 3·Σx / √(number of pixels) has slope 3 everywhere: g_p = (3 − 1)²."""
    pixels = 3 * 32 * 32
    linear = nn.Linear(pixels, 1, bias=False).double()
    nn.init.constant_(linear.weight, 3 / pixels**0.5)
    critic = nn.Sequential(nn.Flatten(), linear, nn.Flatten(0))
    penalty = gradient_penalty(critic, faces(4), faces(4), torch.Generator().manual_seed(0))
    assert penalty.item() == pytest.approx(4.0, rel=1e-5)


def test_penalty_equals_a_plain_loop_over_the_pairs() -> None:
    critic = Critic(32, width=4).double()
    real, fake = faces(4), faces(4)
    penalty = gradient_penalty(critic, real, fake, torch.Generator().manual_seed(7))
    shares = torch.rand(4, 1, 1, 1, generator=torch.Generator().manual_seed(7)).double()
    by_hand = []
    for share, x, y in zip(shares, real, fake, strict=True):
        point = (share * x + (1 - share) * y).requires_grad_()
        (slope,) = torch.autograd.grad(critic(point[None]), point)
        by_hand.append((slope.norm().item() - 1) ** 2)
    assert penalty.item() == pytest.approx(sum(by_hand) / 4, rel=1e-5)


def test_training_pulls_the_critics_slope_towards_one() -> None:
    """If the penalty's gradient missed the weights, the distance of two images would grow without bound."""
    torch.manual_seed(0)
    critic = Critic(32, width=4)
    optimizer = torch.optim.Adam(critic.parameters(), 1e-3)
    real, fake = torch.rand(2, 8, 3, 32, 32)
    random = torch.Generator().manual_seed(0)
    for _ in range(150):
        penalty = gradient_penalty(critic, real, fake, random)
        loss = 10 * penalty - earth_mover(critic, real, fake)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert penalty.item() < 0.5
    distances = (real - fake).flatten(1).norm(dim=1)
    assert 0 < earth_mover(critic, real, fake).item() < 1.5 * distances.mean().item()
