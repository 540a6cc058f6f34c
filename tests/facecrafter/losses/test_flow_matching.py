"""Flow matching against closed forms: a wrong sign, time or path leads somewhere else than to the images."""

from __future__ import annotations

import pytest
import torch
from small_networks import seeded
from torch import Tensor

from facecrafter.losses.flow_matching import flow_along, velocity_error

POINT = torch.tensor([[0.3, -0.8, 0.5]], dtype=torch.float64)


def to_the_point(x: Tensor, t: Tensor) -> Tensor:
    """The exact field where all images are one: straight on to it, to be there at t = 1."""
    return (POINT - x) / (1 - t)[:, None]


def noise(count: int) -> Tensor:
    return torch.randn(count, 3, dtype=torch.float64, generator=seeded())


def test_the_exact_field_of_one_point_has_no_error() -> None:
    times = torch.rand(50, dtype=torch.float64, generator=seeded(1))
    error = velocity_error(to_the_point, noise(50), POINT.expand(50, 3), times)
    assert error.item() < 1e-24


def test_the_error_of_a_constant_field_is_least_at_the_mean_velocity() -> None:
    """d/dc mean (c − (x_1 − x_0))² = 2 (c − mean(x_1 − x_0)) / 3 in each of three values."""
    start, end = noise(20), torch.rand(20, 3, dtype=torch.float64, generator=seeded(2))
    constant = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    error = velocity_error(lambda x, t: constant.expand_as(x), start, end, torch.zeros(20).double())
    (slope,) = torch.autograd.grad(error, constant)
    torch.testing.assert_close(slope, -2 * (end - start).mean(dim=0) / 3)
    assert error.item() == pytest.approx((end - start).square().mean().item())


def test_the_field_is_asked_on_the_straight_path() -> None:
    start, end, times = noise(4), noise(8)[4:], torch.tensor([0, 0.25, 0.5, 1]).double()
    asked: list[Tensor] = []
    velocity_error(lambda x, t: asked.append(x) or x, start, end, times)
    torch.testing.assert_close(asked[0], start + times[:, None] * (end - start))
    assert torch.equal(asked[0][0], start[0])
    assert torch.equal(asked[0][3], end[3])


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_along_straight_paths_any_number_of_steps_arrives(steps: int) -> None:
    arrived = flow_along(to_the_point, noise(5), steps)
    torch.testing.assert_close(arrived, POINT.expand(5, 3), rtol=0, atol=1e-14)


def test_each_step_is_eulers_from_where_and_when_it_begins() -> None:
    """x' = 2x multiplies by 1 + 2/n each step; x' = t adds the left sum of n rectangles, (n − 1) / 2n."""
    grown = flow_along(lambda x, t: 2 * x, noise(5), 4)
    torch.testing.assert_close(grown, noise(5) * 1.5**4)
    moved = flow_along(lambda x, t: t[:, None].expand_as(x), noise(5), 4)
    torch.testing.assert_close(moved, noise(5) + 3 / 8)
