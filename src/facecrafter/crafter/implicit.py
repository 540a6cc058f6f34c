"""The implicit gradient of Crafter: how a loss of the best response z*(F) changes with the feature F.

The best response minimises ‖F − φ(z)‖² + λ‖z − z*‖² around itself, so with J = ∂φ/∂z and up to the curvature
of φ

    ∂z*/∂F = (JᵀJ + λI)⁻¹ Jᵀ        and        ∂L_p/∂F = J (JᵀJ + λI)⁻¹ ∂L_p/∂z*

(paper, section IV-B). Only the inverse is hard; it is a solver, an argument of everything that needs one. All
vectors are per sample, (N, d), and no sample sees another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from facecrafter.crafter.jacobian import Linearization

Matrix = Callable[[Tensor], Tensor]  # v (N, d) ↦ A·v (N, d), A symmetric and positive semi-definite


class Solution(NamedTuple):
    """x (N, d), and per sample (N,) the relative residual ‖A·x + λx − b‖ / ‖b‖ that the solver itself saw."""

    x: Tensor
    residual: Tensor


class Solver(Protocol):
    """Approximates (A + λI)⁻¹ b, with λ = `ridge`."""

    @property
    def ridge(self) -> float: ...

    def __call__(self, matrix: Matrix, b: Tensor) -> Solution: ...


@dataclass(frozen=True)
class ConjugateGradient:
    """A fixed number of conjugate-gradient steps on (A + λI) x = b (Hestenes and Stiefel 1952), batched.

    Args:
        damping: λ. Small values move z* most per unit of change of the feature, large ones follow ∂L_p/∂z*
            itself.
        steps: products with A; nothing is decided on the host in between.
    """

    damping: float = 35.0
    steps: int = 10

    def __post_init__(self) -> None:
        if self.damping < 0 or self.steps < 1:
            raise ValueError(f"conjugate gradients need damping >= 0 and steps >= 1, not {self}")

    @property
    def ridge(self) -> float:
        return self.damping

    def __call__(self, matrix: Matrix, b: Tensor) -> Solution:
        # From x = 0 the first residual is b itself: no product is spent on it.
        x, residual, direction = torch.zeros_like(b), b, b
        square = _dot(residual, residual)
        # A sample that is solved exactly has a residual of 0: 0 / tiny stops it there, 0 / 0 would be NaN.
        tiny = torch.finfo(b.dtype).tiny
        for _ in range(self.steps):
            image = matrix(direction) + self.damping * direction
            length = square / _dot(direction, image).clamp_min(tiny)
            x = x + length * direction
            residual = residual - length * image
            previous, square = square, _dot(residual, residual)
            direction = residual + square / previous.clamp_min(tiny) * direction
        # As the recursion has it, in place of another product for b − A·x: over so few steps the two agree.
        return Solution(x, (square / _dot(b, b).clamp_min(tiny)).sqrt().squeeze(1))


@dataclass(frozen=True)
class NeumannSeries:
    """Algorithm 2 of the paper (after Lorraine et al. 2020): x = s·Σ_{j=0..terms−1} (I − s·A)ʲ b.

    It approaches A⁻¹b only after about 1/(s·μ_min) terms; cut off earlier, it acts like a ridge
    λ = 1/(s·terms). With the published numbers (150 + 1 terms, s = 1.907e-6 whatever the batch) that is
    λ = 3,472 (`reference.SQUARED`: ‖·‖² per image, A = JᵀJ).

    Args:
        scale: s = αc, the step; the series diverges unless s·μ_max(A) < 2.
        terms: of the sum.
    """

    scale: float = 1.907e-6
    terms: int = 151

    def __post_init__(self) -> None:
        if self.scale <= 0 or self.terms < 1:
            raise ValueError(f"a Neumann series needs scale > 0 and terms >= 1, not {self}")

    @property
    def ridge(self) -> float:
        return 1 / (self.scale * self.terms)

    def __call__(self, matrix: Matrix, b: Tensor) -> Solution:
        """Raises ArithmeticError where the series diverges, naming the largest step it could take."""
        # Algorithm 2 initialises p alone; its v starts at the same ∂L_p/∂z, as the series asks (Lemma 2).
        term = total = b
        for _ in range(self.terms - 1):
            term = term - self.scale * matrix(term)
            total = total + term
        # The next term is what one more product would leave: (I − sA)^terms b = b − A·x.
        remainder = term - self.scale * matrix(term)
        # No term can grow unless s·μ_max > 2, as A is semi-definite. `not (... <=)` counts NaN as divergence.
        if not bool((remainder.norm(dim=1) <= 1.01 * b.norm(dim=1)).all()):
            # Only for the message, so a rough start and few products will do.
            _, largest = power_iteration(matrix, torch.ones_like(b), steps=20)
            raise ArithmeticError(
                f"the Neumann series diverges: its step {self.scale:g} must stay below "
                f"2/μ_max = {2 / largest.max():g}"
            )
        tiny = torch.finfo(b.dtype).tiny
        return Solution(self.scale * total, remainder.norm(dim=1) / b.norm(dim=1).clamp_min(tiny))


class ImplicitGradient(NamedTuple):
    """∂L_p/∂F (N, C, h, w) and the solver's relative residual (N,)."""

    gradient: Tensor
    residual: Tensor


def implicit_gradient(phi: Linearization, grad_z: Tensor, solver: Solver) -> ImplicitGradient:
    """∂L_p/∂F = J (JᵀJ + λI)⁻¹ ∂L_p/∂z* (Algorithm 1, lines 11 and 12).

    Args:
        phi: the derivative of φ = Enc∘G at z*.
        grad_z: ∂L_p/∂z* (N, d).
        solver: of the linear system with JᵀJ.
    """
    # Line 12 subtracts ∂²L_inv/∂F∂z · v₁. For L_inv = ‖F − φ(z)‖² that derivative is −2J and the Hessian of
    # line 11 is 2JᵀJ: the minus signs cancel, and so do the twos.
    solution = solver(normal_matrix(phi), grad_z)
    return ImplicitGradient(phi.jvp(solution.x), solution.residual)


def normal_matrix(phi: Linearization) -> Matrix:
    """v ↦ JᵀJ·v, half the Hessian of ‖F − φ(z)‖² in z but for the curvature of φ."""
    return lambda v: phi.vjp(phi.jvp(v))


def power_iteration(matrix: Matrix, start: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """The leading unit eigenvectors (N, d) and a lower bound of the largest eigenvalues (N,) of `matrix`."""
    vector = torch.nn.functional.normalize(start)
    largest = vector.new_zeros(len(vector))
    for _ in range(steps):
        image = matrix(vector)
        # ‖A·v‖ of a unit v never exceeds μ_max of a symmetric A: hence a lower bound.
        largest = image.norm(dim=1)
        vector = torch.nn.functional.normalize(image)
    return vector, largest


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=1, keepdim=True)
