from __future__ import annotations

import pytest
import torch
from torch import Tensor

from facecrafter.attacks.descent import descend

GOALS = torch.tensor([[0.3, -0.2], [4.0, 1.0]], dtype=torch.float64)


def distance(points: Tensor) -> Tensor:
    return (points - GOALS[: len(points)]).square().sum(dim=1)


def unchanged(points: Tensor) -> Tensor:
    return points


def test_the_constrained_minimum_of_a_quadratic_is_found() -> None:
    """The nearest allowed point in a box is known in closed form: the goal, clamped."""
    found = descend(distance, torch.zeros_like(GOALS), 400, 0.05, lambda x: x.clamp(-1, 1))
    torch.testing.assert_close(found.point, GOALS.clamp(-1, 1), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.loss, distance(GOALS.clamp(-1, 1)), atol=1e-3, rtol=0)


def test_the_first_step_is_adams() -> None:
    """Adam's first step has the size of the learning rate in every coordinate, whatever the gradient's."""
    found = descend(distance, torch.zeros_like(GOALS), 1, 0.01, unchanged)
    torch.testing.assert_close(found.point, 0.01 * GOALS.sign())


def test_a_path_that_only_rises_gives_its_start_back() -> None:
    start = GOALS.clone()
    found = descend(lambda x: distance(x).sqrt() + x.sum(dim=1) * 1e-9, start, 5, 1.0, unchanged)
    assert torch.equal(found.point, start)


def test_no_sample_sees_another() -> None:
    together = descend(distance, torch.zeros_like(GOALS), 20, 0.05, unchanged)
    alone = descend(distance, torch.zeros_like(GOALS)[:1], 20, 0.05, unchanged)
    assert torch.equal(together.point[:1], alone.point)


def test_the_budget_is_honoured_and_reported() -> None:
    calls: list[int] = []
    seen: list[tuple[int, int]] = []

    def counted(points: Tensor) -> Tensor:
        calls.append(1)
        return distance(points)

    descend(
        counted, torch.zeros_like(GOALS), 3, 0.1, unchanged, lambda done, total: seen.append((done, total))
    )
    assert len(calls) == 3 + 1, "three steps, and one look at where the last one led"
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_loss_that_is_not_a_number_is_never_the_best() -> None:
    def broken(points: Tensor) -> Tensor:
        return torch.where(points[:, 0] > 0.05, torch.nan, distance(points))

    found = descend(broken, torch.zeros_like(GOALS), 10, 0.02, unchanged)
    assert found.loss.isfinite().all()
    assert (found.point[:, 0] <= 0.05).all()


def test_it_works_where_gradients_are_switched_off() -> None:
    with torch.no_grad():
        found = descend(distance, torch.zeros_like(GOALS), 5, 0.05, unchanged)
    assert (found.loss < distance(torch.zeros_like(GOALS))).all()
    assert not found.point.requires_grad


@pytest.mark.parametrize("iterations", [0])
def test_no_steps_judge_the_start(iterations: int) -> None:
    found = descend(distance, torch.zeros_like(GOALS), iterations, 0.1, unchanged)
    torch.testing.assert_close(found.loss, GOALS.square().sum(dim=1))
