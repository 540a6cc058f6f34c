"""Gradient descent on a loss per image, for attacks whose unknowns are too many to linearise."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from facecrafter.attacks.reconstruction import Progress


class Descent(NamedTuple):
    """The best points (N, ...) of N paths, and their losses (N,)."""

    point: Tensor
    loss: Tensor


def descend(
    objective: Callable[[Tensor], Tensor],
    start: Tensor,
    iterations: int,
    learning_rate: float,
    project: Callable[[Tensor], Tensor],
    progress: Progress | None = None,
) -> Descent:
    """Minimises a loss per sample by Adam (Kingma and Ba 2015), and keeps the best point of each path.

    Adam scales every coordinate by its own gradients, so no sample sees another. The start counts as a point
    of the path: the result is never worse.

    Args:
        objective: points (N, ...) -> losses (N,), differentiable, each of its own sample alone.
        start: where the paths begin (N, ...); `project` must leave it alone.
        iterations: steps. The last one is judged too, so the objective is computed once more than that.
        learning_rate: of Adam, in the units of a point's coordinates.
        project: maps a point onto the nearest one that is allowed.
        progress: called after every step.
    """
    point = start.detach().clone().requires_grad_()
    best = Descent(start.detach(), torch.full_like(start.flatten(1)[:, 0], torch.inf))
    optimizer = torch.optim.Adam([point], learning_rate)
    for iteration in range(iterations):
        with torch.enable_grad():
            # Summed, not averaged: Adam weighs gradients against its ε, so a mean would let the batch size
            # matter.
            loss = objective(point)
            (point.grad,) = torch.autograd.grad(loss.sum(), point)
        # Before the step: this loss belongs to the point where it was computed.
        best = better(best, point.detach(), loss.detach())
        optimizer.step()
        with torch.no_grad():
            point.copy_(project(point))
        if progress:
            progress(iteration + 1, iterations)
    with torch.no_grad():
        return better(best, point.detach(), objective(point))


def better(best: Descent, point: Tensor, loss: Tensor) -> Descent:
    """For each path the better of two points (N, ...), by their losses (N,)."""
    # NaN compares as false: a path that breaks down keeps the best point it had.
    lower = loss < best.loss
    chosen = lower.reshape(-1, *[1] * (point.ndim - 1))
    return Descent(torch.where(chosen, point, best.point), torch.where(lower, loss, best.loss))
