from __future__ import annotations

import pytest
import torch
from torch import nn

from facecrafter.attacks import BlackBox


def decoder() -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(nn.ConvTranspose2d(5, 3, 2, stride=2), nn.BatchNorm2d(3), nn.Sigmoid())
    network.train()(torch.randn(8, 5, 2, 2))
    return network.eval()


def test_the_decoders_image_is_the_only_restart() -> None:
    network, features = decoder(), torch.randn(3, 5, 2, 2)
    result = BlackBox(network).reconstruct(features, torch.Generator())
    assert result.images.shape == (3, 1, 3, 4, 4)
    torch.testing.assert_close(result.best(), network(features).detach())
    assert torch.equal(result.losses, torch.zeros(3, 1))


def test_batch_statistics_are_not_used() -> None:
    network, features = decoder(), torch.randn(3, 5, 2, 2)
    attack = BlackBox(network.train())
    together = attack.reconstruct(features, torch.Generator()).best()
    alone = attack.reconstruct(features[:1], torch.Generator()).best()
    torch.testing.assert_close(together[:1], alone)


def test_features_of_another_encoder_are_refused() -> None:
    with pytest.raises(ValueError, match=r"cannot read features of \(4, 2, 2\)"):
        BlackBox(decoder()).reconstruct(torch.zeros(1, 4, 2, 2), torch.Generator())


class Draws(nn.Module):
    """Three images of each feature, the first of which is black."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        brightness = torch.tensor([0, 0.5, 1]).view(1, 3, 1, 1, 1)
        return brightness * features[:, :3].sigmoid()[:, None]


def test_the_draws_of_a_decoder_are_restarts_that_the_attacker_cannot_tell_apart() -> None:
    features = torch.randn(2, 5, 4, 4)
    result = BlackBox(Draws()).reconstruct(features, torch.Generator())
    torch.testing.assert_close(result.images, Draws()(features))
    assert torch.equal(result.losses, torch.zeros(2, 3))
    assert result.best().max() == 0
