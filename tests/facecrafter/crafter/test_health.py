"""The health check must see a wrong gradient and a response that is none, and say what to change."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from facecrafter.crafter.health import HealthCheck, advice
from facecrafter.crafter.implicit import ConjugateGradient, implicit_gradient
from facecrafter.crafter.inversion import AttackerModel

RIDGE = 0.5


@pytest.fixture(scope="module")
def model() -> AttackerModel:
    """A linear φ of known spectrum: G reshapes, Enc mixes pixels."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(12, 20), nn.Unflatten(1, (5, 2, 2))).double()
    generator = nn.Sequential(nn.Linear(4, 12), nn.Unflatten(1, (3, 2, 2))).double()
    return AttackerModel(encoder, generator)


def jacobian(model: AttackerModel) -> Tensor:
    return model.encoder[1].weight @ model.generator[0].weight  # (20, 4)


def look(model: AttackerModel, z_shift: float = 0.0, gradient_factor: float = 1.0) -> dict[str, float]:
    torch.manual_seed(1)
    z = torch.randn(3, 4, dtype=torch.float64)
    features = model(z).features
    grad_images = torch.randn(3, 3, 2, 2, dtype=torch.float64)
    at = model(z + z_shift)
    solver = ConjugateGradient(RIDGE, steps=10)
    exact = implicit_gradient(at.d_phi, at.d_generator.vjp(grad_images), solver).gradient
    check = HealthCheck(images=2, steps=60)
    return check(model, features, z + z_shift, grad_images, gradient_factor * exact, RIDGE)


def test_an_exact_gradient_at_a_stationary_point_is_healthy(model: AttackerModel) -> None:
    found = look(model)
    assert found["implicit_cosine"] == pytest.approx(1, abs=1e-9)
    assert found["implicit_error"] == pytest.approx(0, abs=1e-9)
    assert not list(advice(look(model)))


def test_the_largest_eigenvalue_is_that_of_the_matrix(model: AttackerModel) -> None:
    largest = torch.linalg.matrix_norm(jacobian(model), ord=2) ** 2
    found = look(model, z_shift=0.1)["largest_eigenvalue"]
    assert found == pytest.approx(largest.item(), rel=1e-3), "sixty power iterations come that close"


def test_a_gradient_that_is_off_is_noticed(model: AttackerModel) -> None:
    found = look(model, gradient_factor=1.2)
    assert found["implicit_error"] == pytest.approx(0.2)
    assert any("solver" in line for line in advice(found))


def test_a_response_that_is_none_is_noticed(model: AttackerModel) -> None:
    """F lies on the image of φ, so all of the inversion loss but the ridge's share can go."""
    found = look(model, z_shift=0.3)
    matrix = jacobian(model)
    shift = torch.full((4,), 0.3, dtype=torch.float64)
    slope = matrix.T @ matrix @ shift
    falls = slope @ torch.linalg.solve(matrix.T @ matrix + RIDGE * torch.eye(4, dtype=torch.float64), slope)
    assert found["inner_gap"] == pytest.approx((falls / (matrix @ shift).square().sum()).item(), rel=1e-6)
    assert any("best response" in line for line in advice(found))


def test_looks_are_taken_when_due() -> None:
    assert [i for i in range(7) if HealthCheck(every=3).due(i)] == [0, 3, 6]
    assert not HealthCheck(every=0).due(0)
