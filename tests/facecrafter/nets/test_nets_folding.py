"""Batch-norm folding is exact: a wrong fold would bend every gradient through φ, silently."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from facecrafter.nets.amortizer import Amortizer
from facecrafter.nets.folding import fold_batchnorm
from facecrafter.nets.generator import Generator1, Generator2
from facecrafter.nets.target import ARCHITECTURES

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def randomised(network: nn.Module) -> nn.Module:
    """`network` in float64 and eval mode, its batch norms with statistics as if it had been trained."""
    generator = torch.Generator().manual_seed(0)
    for layer in network.double().eval().modules():
        if isinstance(layer, NORMS) and layer.running_mean is not None:
            layer.running_mean.normal_(0, 0.1, generator=generator)
            layer.running_var.uniform_(0.5, 2, generator=generator)
            if layer.affine:
                layer.weight.data.uniform_(0.5, 1.2, generator=generator)
                layer.bias.data.normal_(0, 0.5, generator=generator)
    return network


def norms(network: nn.Module) -> int:
    return sum(isinstance(layer, NORMS) for layer in network.modules())


def assert_same(network: nn.Module, inputs: Tensor, left: int = 0) -> None:
    folded = fold_batchnorm(network)
    torch.testing.assert_close(folded(inputs), network(inputs), rtol=1e-10, atol=1e-10)
    assert norms(folded) == left
    assert not any(parameter.requires_grad for parameter in folded.parameters())


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_targets_fold_completely(arch: str) -> None:
    network = randomised(nn.Sequential(*ARCHITECTURES[arch](3)))
    assert_same(network, torch.rand(2, 3, 32, 32, dtype=torch.float64))


@pytest.mark.parametrize("generator", [Generator1, Generator2])
def test_generators_fold_completely(generator: type[nn.Sequential]) -> None:
    assert_same(randomised(generator(6, 32, 4)), torch.randn(3, 6, dtype=torch.float64))


def test_amortizer_folds_completely() -> None:
    assert_same(randomised(Amortizer((2, 4, 4), 3)), torch.randn(2, 2, 4, 4, dtype=torch.float64))


def test_linear_norm_and_norm_without_affine_fold() -> None:
    network = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5, affine=False), nn.Linear(5, 2, bias=False))
    assert_same(randomised(network), torch.randn(3, 4, dtype=torch.float64))


def test_the_original_is_untouched() -> None:
    network = Generator1(6, 32, 4)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    fold_batchnorm(network)
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    torch.testing.assert_close(dict(network.state_dict()), before, rtol=0, atol=0)


class OutOfOrder(nn.Module):
    """Registers its layers in another order than it calls them."""

    def __init__(self) -> None:
        super().__init__()
        self.second, self.norm, self.first = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1)

    def forward(self, maps: Tensor) -> Tensor:
        return self.second(self.norm(self.first(maps)).relu())


class Branches(nn.Module):
    """Something else reads the convolution that the norm follows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.conv(maps)
        return maps + self.norm(maps)


class Twice(nn.Module):
    """Uses one convolution twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)

    def forward(self, maps: Tensor) -> Tensor:
        return self.norm(self.conv(self.conv(maps).relu()))


class Untraceable(nn.Module):
    """Decides by its input, which a symbolic trace cannot follow; its block can be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.block, self.norm = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)), nn.BatchNorm2d(2)

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.block(maps)
        return self.norm(maps) if maps.mean() > -1e9 else maps


class Doubling(nn.Conv2d):
    """A convolution by name that computes something else."""

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps).square()


@pytest.mark.parametrize(
    ("network", "left"),
    [
        (OutOfOrder(), 0),
        (Branches(), 1),
        (Twice(), 1),
        (Untraceable(), 1),
        (nn.Sequential(Doubling(2, 2, 1), nn.BatchNorm2d(2)), 1),
        (nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU(), nn.BatchNorm2d(2)), 1),
        (nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2, track_running_stats=False)), 1),
        (nn.Sequential(nn.ConvTranspose2d(2, 2, 3, groups=2), nn.BatchNorm2d(2)), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_what_follows_what_is_read_from_the_computation(network: nn.Module, left: int) -> None:
    assert_same(randomised(network), torch.randn(3, 2, 5, 5, dtype=torch.float64), left)
