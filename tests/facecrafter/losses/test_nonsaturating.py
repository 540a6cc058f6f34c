"""The losses of StyleGAN2 against closed forms: a wrong sign or mean trains a player backwards."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from facecrafter.losses.nonsaturating import discriminator_loss, generator_loss, path_lengths, r1_penalty
from facecrafter.nets.stylegan2.discriminator import StyleDiscriminator
from facecrafter.nets.stylegan2.generator import StyleGenerator


def test_the_losses_are_log_likelihoods() -> None:
    real, fake = torch.tensor([0.5, -1.0]).double(), torch.tensor([2.0, 0.0, -3.0]).double()

    def log_sigmoid(x: float) -> float:
        return -math.log1p(math.exp(-x))

    expected = -sum(map(log_sigmoid, real.tolist())) / 2
    expected -= sum(math.log(1 - 1 / (1 + math.exp(-x))) for x in fake.tolist()) / 3
    assert discriminator_loss(real, fake).item() == pytest.approx(expected)
    assert generator_loss(fake).item() == pytest.approx(-sum(map(log_sigmoid, fake.tolist())) / 3)


def test_r1_of_a_linear_discriminator_is_its_squared_slope() -> None:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(12, 1), nn.Flatten(0)).double()
    images = torch.rand(4, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    penalty = r1_penalty(linear(images), images)
    assert penalty.item() == pytest.approx(linear[1].weight.square().sum().item())
    (gradient,) = torch.autograd.grad(penalty, linear[1].weight)
    torch.testing.assert_close(gradient, 2 * linear[1].weight.detach())


def slope_along(values: list[float], step: float) -> float:
    """The central difference of the second order."""
    return (values[1] - values[0]) / (2 * step)


def moved(network: nn.Module, directions: list[Tensor], length: float) -> None:
    with torch.no_grad():
        for weight, direction in zip(network.parameters(), directions, strict=True):
            weight.add_(length * direction)


def test_r1s_gradient_in_the_weights_is_that_of_finite_differences() -> None:
    torch.manual_seed(0)
    discriminator = StyleDiscriminator(16, channel_base=64, channel_max=4).double()
    images = torch.rand(4, 3, 16, 16, dtype=torch.float64, requires_grad=True)

    def penalty() -> Tensor:
        return r1_penalty(discriminator(images), images)

    directions = [torch.randn_like(weight) for weight in discriminator.parameters()]
    penalty().backward()
    pairs = zip(discriminator.parameters(), directions, strict=True)
    # A bias in front of a slope that no sample changes has no gradient at all.
    found = sum((weight.grad * direction).sum() for weight, direction in pairs if weight.grad is not None)
    values = []
    for length in (-1e-7, 2e-7):
        moved(discriminator, directions, length)
        values.append(penalty().item())
    assert found.item() == pytest.approx(slope_along(values, 1e-7), rel=1e-4)


def test_path_lengths_of_a_linear_generator_are_known() -> None:
    """image = Σ_l A_l w_l: the pull on layer l is A_lᵀy, y ~ N(0, I / HW)."""
    random = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 5, 3 * 4 * 4, generator=random, dtype=torch.float64)
    ws = torch.randn(3, 2, 5, generator=random, dtype=torch.float64).requires_grad_()
    images = torch.einsum("nld,ldp->np", ws, maps).reshape(3, 3, 4, 4)
    torch.manual_seed(1)
    found = path_lengths(images, ws)
    torch.manual_seed(1)
    y = torch.randn(3, 3, 4, 4, dtype=torch.float64).flatten(1) / 4
    for length, direction in zip(found, y, strict=True):
        pulls = [(maps[layer] @ direction).square().sum() for layer in range(2)]
        assert length.item() == pytest.approx(math.sqrt(sum(pulls) / 2))


def test_path_lengths_measure_the_expected_stretch() -> None:
    """E‖Jᵀy‖² = ‖J‖²_F / HW: twice the contrast is twice the length, whatever the size of the image."""
    torch.manual_seed(0)
    for side in (4, 8):
        ws = torch.randn(20_000, 1, 3, dtype=torch.float64, requires_grad=True)
        images = 2 * ws.transpose(1, 2)[..., None].expand(-1, -1, side, side)
        assert path_lengths(images, ws).square().mean().item() == pytest.approx(4 * 3, rel=0.02)


def test_path_lengths_gradient_in_the_weights_is_that_of_finite_differences() -> None:
    torch.manual_seed(0)
    generator = StyleGenerator(16, 4, 4, 2, channel_base=64, channel_max=4).double()
    z = torch.randn(2, 4, dtype=torch.float64)

    def length() -> Tensor:
        ws = generator.per_layer(generator.mapping(z))
        torch.manual_seed(1)
        return path_lengths(generator.synthesis(ws), ws).sum()

    directions = [torch.randn_like(weight) for weight in generator.parameters()]
    length().backward()
    pairs = zip(generator.parameters(), directions, strict=True)
    found = sum((weight.grad * direction).sum() for weight, direction in pairs if weight.grad is not None)
    values = []
    for step in (-1e-7, 2e-7):
        moved(generator, directions, step)
        values.append(length().item())
    assert found.item() == pytest.approx(slope_along(values, 1e-7), rel=1e-4)
