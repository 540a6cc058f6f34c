"""The implicit gradient decides where a feature goes: checked against closed forms and finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from facecrafter.crafter.implicit import (
    ConjugateGradient,
    NeumannSeries,
    implicit_gradient,
    normal_matrix,
    power_iteration,
)
from facecrafter.crafter.jacobian import Linearizer

DAMPING = 0.3


def linear_phi(n: int = 3, features: int = 12, latents: int = 5) -> tuple[nn.Sequential, Tensor]:
    torch.manual_seed(1)
    layer = nn.Linear(latents, features).double().requires_grad_(False)
    return nn.Sequential(layer, nn.Unflatten(1, (3, 2, 2))), layer.weight


def test_implicit_gradient_of_a_linear_phi_is_the_closed_form() -> None:
    phi, weight = linear_phi()
    grad_z = torch.randn(3, 5, dtype=torch.float64)
    _, derivative = Linearizer(phi)(torch.randn(3, 5, dtype=torch.float64))
    inverse = torch.linalg.inv(weight.T @ weight + DAMPING * torch.eye(5, dtype=torch.float64))
    expected = (grad_z @ inverse @ weight.T).view(3, 3, 2, 2)
    result = implicit_gradient(derivative, grad_z, ConjugateGradient(DAMPING, steps=5))
    torch.testing.assert_close(result.gradient, expected)
    assert (result.residual < 1e-10).all()


def test_implicit_gradient_equals_finite_differences_of_the_regularised_inner_problem() -> None:
    """L(z*(F)) is differenced: z*(F) = argmin ‖F − φ(z)‖² + λ‖z − z₀‖², solved to the end around F = φ(z₀).

    φ has ReLUs and no other curvature, so the Gauss-Newton inverse is exact there.
    """
    torch.manual_seed(2)
    phi = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 9)).double().requires_grad_(False)
    z0, slope = torch.randn(1, 4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    feature = phi(z0)

    def loss_of_response(f: Tensor) -> Tensor:
        z = z0.clone()
        for _ in range(50):  # Newton's method on the regularised problem
            jacobian = torch.func.jacrev(lambda z: phi(z))(z)[0, :, 0]
            gradient = (phi(z) - f)[0] @ jacobian + DAMPING * (z - z0)[0]
            hessian = jacobian.T @ jacobian + DAMPING * torch.eye(4, dtype=torch.float64)
            z = z - torch.linalg.solve(hessian, gradient)
        return z[0] @ slope

    step = 1e-6
    expected = torch.stack(
        [
            (loss_of_response(feature + step * unit) - loss_of_response(feature - step * unit)) / (2 * step)
            for unit in torch.eye(9, dtype=torch.float64)
        ]
    )
    _, derivative = Linearizer(phi)(z0)
    result = implicit_gradient(derivative, slope[None], ConjugateGradient(DAMPING, steps=4))
    torch.testing.assert_close(result.gradient[0], expected, rtol=1e-6, atol=1e-8)


def matrix_with(eigenvalues: list[float]) -> Tensor:
    torch.manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(len(eigenvalues), len(eigenvalues), dtype=torch.float64))
    return basis @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ basis.T


def test_conjugate_gradients_report_the_residual_that_they_leave() -> None:
    matrix = matrix_with([0.1, 1, 5, 20, 100])
    b = torch.randn(4, 5, dtype=torch.float64)
    solution = ConjugateGradient(DAMPING, steps=2)(lambda v: v @ matrix, b)
    left = b - solution.x @ matrix - DAMPING * solution.x
    torch.testing.assert_close(solution.residual, left.norm(dim=1) / b.norm(dim=1))
    assert (solution.residual > 1e-3).all(), "two steps cannot solve five different eigenvalues"


def test_samples_do_not_see_each_other() -> None:
    matrix = matrix_with([1, 2, 30])
    b = torch.randn(4, 3, dtype=torch.float64)
    together = ConjugateGradient(1.0, steps=2)(lambda v: v @ matrix, b).x
    alone = ConjugateGradient(1.0, steps=2)(lambda v: v @ matrix, b[2:3]).x
    torch.testing.assert_close(together[2:3], alone, rtol=0, atol=1e-14)


def test_zero_gradient_gives_zero_and_not_nan() -> None:
    """At the start of a critic that scores everything alike, ∂L_p/∂z is exactly zero."""
    matrix = matrix_with([1, 2, 3])
    solution = ConjugateGradient(1.0, steps=5)(lambda v: v @ matrix, torch.zeros(2, 3, dtype=torch.float64))
    assert torch.equal(solution.x, torch.zeros(2, 3, dtype=torch.float64))
    assert torch.isfinite(solution.residual).all()


def test_neumann_series_is_its_partial_sum() -> None:
    matrix = matrix_with([0.5, 3, 8])
    b = torch.randn(2, 3, dtype=torch.float64)
    scale, terms = 0.1, 7
    power, total = torch.eye(3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)
    for _ in range(terms):
        total = total + power
        power = power @ (torch.eye(3, dtype=torch.float64) - scale * matrix)
    series = NeumannSeries(scale, terms)(lambda v: v @ matrix, b)
    torch.testing.assert_close(series.x, b @ (scale * total))
    left = b - series.x @ matrix
    torch.testing.assert_close(series.residual, left.norm(dim=1) / b.norm(dim=1))


def test_neumann_series_converges_to_the_inverse() -> None:
    matrix = matrix_with([0.5, 3, 8])
    b = torch.randn(2, 3, dtype=torch.float64)
    series = NeumannSeries(scale=0.2, terms=400)(lambda v: v @ matrix, b)
    torch.testing.assert_close(series.x, torch.linalg.solve(matrix, b, left=False))


def test_published_series_acts_like_a_ridge_of_3472() -> None:
    """With the spectrum of a real φ the published 151 terms are far from the inverse, near this ridge."""
    solver = NeumannSeries()
    assert 1 / (solver.scale * solver.terms) == pytest.approx(3472, rel=1e-3)


def test_diverging_neumann_series_is_refused_with_the_step_it_could_take() -> None:
    matrix = matrix_with([1, 2, 40])
    b = torch.randn(2, 3, dtype=torch.float64)
    with pytest.raises(ArithmeticError, match=r"below 2/μ_max = 0\.05"):
        NeumannSeries(scale=0.06, terms=30)(lambda v: v @ matrix, b)


def test_power_iteration_finds_the_largest_eigenvalue() -> None:
    matrix = matrix_with([1, 5, 30])
    _, largest = power_iteration(lambda v: v @ matrix, torch.randn(2, 3, dtype=torch.float64), steps=60)
    torch.testing.assert_close(largest, torch.full((2,), 30.0, dtype=torch.float64))


def test_normal_matrix_is_jtj() -> None:
    phi, weight = linear_phi()
    _, derivative = Linearizer(phi)(torch.zeros(2, 5, dtype=torch.float64))
    v = torch.randn(2, 5, dtype=torch.float64)
    torch.testing.assert_close(normal_matrix(derivative)(v), v @ weight.T @ weight)
