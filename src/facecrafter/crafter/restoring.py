"""Changes a feature until a layer of the public head reads of it what it should."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

Layer = Callable[[Tensor], Tensor]
FEW = 64
"""Numbers that a layer makes, for each of which a whole backward pass is taken."""
ITERATIONS = 20
"""Of Gauss-Newton, at most. Six to ten are enough for the logits of ResNet18."""
RIDGE = 1e-3
"""λ, in units of the mean of JJᵀ's diagonal."""
HALVINGS = 6
"""Of a step, at most."""
ARRIVED = 1e-4
"""Of the way that h had to go, what may be left of it."""
LEFT = 0.05
"""What may be left before somebody is warned."""


def restored(layer: Layer, wanted: Tensor, start: Tensor, steps: int, learning_rate: float) -> Tensor:
    """F' near `start` with h(F') = `wanted`.

    By Gauss-Newton where h makes few numbers of a feature, which arrives; by Adam elsewhere, which comes
    near.

    Args:
        layer: h, features -> (N, ...).
        wanted: (N, ...) what h is to make of F'.
        start: S (N, C, h, w).
        steps, learning_rate: of Adam.
    """
    if wanted[0].numel() > FEW:
        return by_adam(layer, wanted, start, steps, learning_rate)
    found = by_newton(layer, wanted, start)
    _warn_of_what_is_left(layer, wanted, start, found)
    return found


def by_newton(layer: Layer, wanted: Tensor, start: Tensor) -> Tensor:
    """Shortest steps down ‖h(F') − wanted‖: Jᵀ(JJᵀ + λI)⁻¹(wanted − h(F')) with J = ∂h/∂F', halved while they
    do not lead down. Each image takes its own, whatever others are in the batch."""
    point = start.detach().clone()
    near = None
    for _ in range(ITERATIONS):
        rows, read = _jacobian(layer, point)
        gap = (wanted - read).flatten(1)
        distance = gap.square().sum(dim=1)
        near = ARRIVED**2 * distance if near is None else near
        going = distance > near
        if not going.any():
            break
        gram = rows @ rows.mT
        ridge = RIDGE * gram.diagonal(dim1=1, dim2=2).mean(dim=1).clamp_min(torch.finfo(gram.dtype).tiny)
        gram.diagonal(dim1=1, dim2=2).add_(ridge[:, None])
        step = (rows.mT @ torch.linalg.solve(gram, gap)[..., None]).view_as(point)
        point = _down(layer, wanted, point, step, distance, going)
    return point


def by_adam(layer: Layer, wanted: Tensor, start: Tensor, steps: int, learning_rate: float) -> Tensor:
    """So many steps of Adam down the mean of (h(F') − wanted)²."""
    point = start.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([point], learning_rate)
    # Down to nothing at the end: steps of one length would leave h about as far off as one of them.
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        with torch.enable_grad():
            distance = (layer(point) - wanted).square().flatten(1).mean(dim=1)
            (point.grad,) = torch.autograd.grad(distance.sum(), point)
        optimizer.step()
        schedule.step()
    return point.detach()


@torch.enable_grad()
def _jacobian(layer: Layer, point: Tensor) -> tuple[Tensor, Tensor]:
    """J (N, K, D) of the K numbers that h makes of a feature, and these."""
    point = point.detach().requires_grad_()
    read = layer(point)
    numbers = read.flatten(1)
    rows = [torch.autograd.grad(one.sum(), point, retain_graph=True)[0] for one in numbers.unbind(dim=1)]
    return torch.stack([row.flatten(1) for row in rows], dim=1), read.detach()


@torch.no_grad()
def _down(
    layer: Layer, wanted: Tensor, point: Tensor, step: Tensor, distance: Tensor, going: Tensor
) -> Tensor:
    """Where the step of those that are `going` (N,) leads, or as much of it as leads down, or nowhere."""
    found, going, share = point.clone(), going.clone(), 1.0
    for _ in range(HALVINGS):
        tried = point[going] + share * step[going]
        nearer = (layer(tried) - wanted[going]).flatten(1).square().sum(dim=1) < distance[going]
        places = going.nonzero().squeeze(1)[nearer]
        found[places] = tried[nearer]
        going[places] = False
        if not going.any():
            break
        share /= 2
    return found


@torch.no_grad()
def _warn_of_what_is_left(layer: Layer, wanted: Tensor, start: Tensor, found: Tensor) -> None:
    way, left = ((layer(point) - wanted).flatten(1).norm(dim=1) for point in (start, found))
    if lost := int((left > LEFT * way).sum()):
        warnings.warn(
            f"of {lost} of {len(start)} features the head does not read what it should: more than "
            f"{LEFT:.0%} of the way is left",
            stacklevel=3,
        )
