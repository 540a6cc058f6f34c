"""How F follows its gradient: by Adam, or by steps that an inversion can see."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from facecrafter.crafter.implicit import ConjugateGradient, normal_matrix
from facecrafter.crafter.jacobian import Linearization

Stepper = Callable[[Tensor, Linearization], None]
"""Moves F in place, given its gradient (N, C, h, w) and the derivative of φ at z*."""


class Update(ABC):
    """Line 13 of Algorithm 1."""

    @abstractmethod
    def __call__(self, features: Tensor, learning_rate: float) -> Stepper:
        """The steps of one batch: they move `features` (N, C, h, w) in place."""


class AdamSteps(Update):
    """F ← F − η·m̂ / (√v̂ + ε), as published (Kingma and Ba 2015): every element moves by about η.

    The elements' own scaling turns the step out of span(J), the only space in which the prior follows.
    """

    def __call__(self, features: Tensor, learning_rate: float) -> Stepper:
        optimizer = torch.optim.Adam([features], learning_rate, fused=True)

        def step(gradient: Tensor, d_phi: Linearization) -> None:
            features.grad = gradient
            optimizer.step()

        return step


class SpanSteps(Update):
    """F ← F − η·√n·P m,  m ← μ·m + (1 − μ)·∇/‖∇‖,  P = J (JᵀJ + εI)⁻¹ Jᵀ, per image.

    P projects on span(J), the moves that the prior can follow: nothing is spent on others, which cost utility
    and which no latent answers to. A step is no longer than one of Adam, η in every element.

    Args:
        momentum: μ, in [0, 1).
        damping: ε of the projection; directions in which φ moves by less than √ε are left out by degrees.
        steps: conjugate-gradient steps of the projection.

    Raises:
        ValueError: the momentum lies elsewhere.
    """

    def __init__(self, momentum: float = 0.9, damping: float = 1.0, steps: int = 10) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be at least 0 and below 1, got {momentum}")
        self.momentum = momentum
        self.solver = ConjugateGradient(damping, steps)

    def __call__(self, features: Tensor, learning_rate: float) -> Stepper:
        memory = torch.zeros_like(features)
        length = learning_rate * features[0].numel() ** 0.5

        def step(gradient: Tensor, d_phi: Linearization) -> None:
            # Of length one per image: how steep the critic is must not decide how far F moves.
            unit = torch.nn.functional.normalize(gradient.flatten(1)).view_as(gradient)
            memory.mul_(self.momentum).add_(unit, alpha=1 - self.momentum)
            seen = d_phi.vjp(memory)
            features.sub_(length * d_phi.jvp(self.solver(normal_matrix(d_phi), seen).x))

        return step
