"""The prior's networks: the paper's layers at its sizes, and only layers that the Jacobian engine knows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from facecrafter.nets.critic import Critic
from facecrafter.nets.generator import Generator1, Generator2, halvings

WALKABLE = (nn.Linear, nn.Unflatten, nn.BatchNorm2d, nn.ReLU, nn.ConvTranspose2d, nn.Sigmoid)
SIZES = (32, 48, 64, 112, 128)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("generator", [Generator1, Generator2])
def test_generators_make_images_of_every_documented_size(generator: type[nn.Sequential], size: int) -> None:
    images = generator(5, size, 4)(torch.randn(2, 5))
    assert images.shape == (2, 3, size, size)
    assert images.min() >= 0
    assert images.max() <= 1


@pytest.mark.parametrize(
    ("generator", "size", "base", "channels"),
    [
        (Generator1, 64, (256, 8, 8), [128, 64, 3]),
        (Generator2, 64, (512, 4, 4), [256, 128, 64, 3]),
        (Generator1, 48, (256, 6, 6), [128, 64, 3]),
        (Generator2, 48, (512, 3, 3), [256, 128, 64, 3]),
        (Generator1, 112, (512, 7, 7), [256, 128, 64, 3]),
        (Generator2, 112, (512, 7, 7), [256, 128, 64, 3]),
        (Generator1, 128, (512, 8, 8), [256, 128, 64, 3]),
        (Generator2, 128, (512, 4, 4), [512, 256, 128, 64, 3]),
    ],
)
def test_generators_have_the_papers_layers(
    generator: type[nn.Sequential], size: int, base: tuple[int, int, int], channels: list[int]
) -> None:
    with torch.device("meta"):
        layers = list(generator(500, size))
    assert layers[1].unflattened_size == base
    assert [layer.out_channels for layer in layers if isinstance(layer, nn.ConvTranspose2d)] == channels


@pytest.mark.parametrize("generator", [Generator1, Generator2])
def test_generators_are_chains_of_known_layers(generator: type[nn.Sequential]) -> None:
    layers = [type(layer) for layer in generator(5, 64, 4)]
    assert set(layers) == set(WALKABLE)
    assert layers[:4] == [nn.Linear, nn.Unflatten, nn.BatchNorm2d, nn.ReLU]
    assert layers[-2:] == [nn.ConvTranspose2d, nn.Sigmoid]


@pytest.mark.parametrize("size", [50, 4, 100])
def test_a_size_that_doublings_cannot_reach_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"image_size={size}"):
        Generator1(5, size)


@pytest.mark.parametrize("size", [*SIZES, 100])
def test_critic_gives_one_score_per_image(size: int) -> None:
    critic = Critic(size, width=4)
    images = torch.rand(3, 3, size, size)
    scores = critic(images)
    assert scores.shape == (3,)
    # The norm is over each image alone, or the gradient penalty would see its neighbours.
    torch.testing.assert_close(critic(images[:1])[0], scores[0], rtol=1e-4, atol=1e-5)


def test_critic_has_the_papers_layers() -> None:
    with torch.device("meta"):
        small, large = Critic(64), Critic(128)
    channels = [layer.out_channels for layer in small if isinstance(layer, nn.Conv2d)]
    assert channels == [64, 128, 256, 512, 1]
    assert small[-2].kernel_size == (4, 4)
    assert sum(isinstance(layer, nn.Conv2d) for layer in large) == 6
    assert isinstance(small[0], nn.Conv2d)
    assert isinstance(small[1], nn.LeakyReLU), "the first layer has no norm"
    assert sum(isinstance(layer, nn.InstanceNorm2d) for layer in small) == 3


def test_critic_of_a_tiny_image_is_refused() -> None:
    with pytest.raises(ValueError, match="image_size=16"):
        Critic(16)


def test_halvings_round_up() -> None:
    assert halvings(13, at_least=0, largest=7) == 1
    assert halvings(4, at_least=2, largest=7) == 2
