"""Attacks on features of which the sender withheld channels: what is not there says nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from small_networks import seeded
from torch import Tensor, nn

from facecrafter.attacks import AmortizedWhiteBox, Attack, Hybrid, Progressive, WhiteBox, random_latents
from facecrafter.attacks.descent import descend
from facecrafter.attacks.search import ToldToPhi
from facecrafter.crafter.inversion import AttackerModel, invert, squared_distance
from facecrafter.nets.through_head import ThroughHead
from facecrafter.nets.withheld import Fill

CHANNELS = 6
WITHHELD = ([1, 4], [0], [2, 3])
"""Of each of the images that are attacked; other images are told in full."""


def networks() -> tuple[nn.Sequential, nn.Sequential]:
    """An encoder of 6 channels of 4 x 4, none ever zero throughout, and a prior of four latents."""
    torch.manual_seed(0)
    prior = nn.Sequential(
        nn.Linear(4, 32), nn.Unflatten(1, (8, 2, 2)), nn.ConvTranspose2d(8, 3, 4, stride=4), nn.Sigmoid()
    ).double()
    encoder = nn.Sequential(nn.Conv2d(3, CHANNELS, 3, stride=2, padding=1), nn.LeakyReLU(0.3)).double()
    return encoder, prior


def restricted(encoder: nn.Sequential, withheld: list[int]) -> nn.Sequential:
    """The encoder without these channels."""
    told = [channel for channel in range(CHANNELS) if channel not in withheld]
    conv = nn.Conv2d(3, len(told), 3, stride=2, padding=1).double()
    with torch.no_grad():
        conv.weight.copy_(encoder[0].weight[told])
        conv.bias.copy_(encoder[0].bias[told])
    return nn.Sequential(conv, nn.LeakyReLU(0.3))


def amortizer(channels: int) -> nn.Module:
    """Says of every feature that its latent is zero."""
    guess = nn.Sequential(nn.Flatten(), nn.Linear(16 * channels, 4)).double()
    nn.init.zeros_(guess[1].weight)
    nn.init.zeros_(guess[1].bias)
    return guess


def white_box(encoder: nn.Module, channels: int = CHANNELS) -> Attack:
    return WhiteBox(encoder, networks()[1], 12, 2, precision="32")


def amortized(encoder: nn.Module, channels: int = CHANNELS) -> Attack:
    return AmortizedWhiteBox(encoder, networks()[1], amortizer(channels), 12, 2, precision="32")


def progressive(encoder: nn.Module, channels: int = CHANNELS) -> Attack:
    return Progressive(encoder, networks()[1], 12, 2, rungs=(15,), precision="32")


ATTACKS = pytest.mark.parametrize("make", [white_box, amortized, progressive])
Make = Callable[..., Attack]


def sent(withheld: tuple[list[int], ...] = WITHHELD) -> Tensor:
    """Features that no latent explains, without the channels that are withheld of each image."""
    features = torch.randn(len(withheld), CHANNELS, 4, 4, generator=seeded(3), dtype=torch.float64)
    for feature, channels in zip(features, withheld, strict=True):
        feature[channels] = 0
    return features


@ATTACKS
def test_it_is_the_search_of_an_encoder_without_the_channels(make: Make) -> None:
    """Otherwise the face is drawn to one whose channels are zero, and the defence looks safer than it is."""
    encoder, features = networks()[0], sent()
    found = make(encoder).reconstruct(features, seeded())
    for row, withheld in enumerate(WITHHELD):
        told = [channel for channel in range(CHANNELS) if channel not in withheld]
        alone = make(restricted(encoder, withheld), len(told)).reconstruct(
            features[row : row + 1, told], seeded(), rows=torch.tensor([row])
        )
        torch.testing.assert_close(found.images[row], alone.images[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(found.losses[row], alone.losses[0])


@ATTACKS
def test_what_is_withheld_of_one_image_changes_no_other(make: Make) -> None:
    """To the last bit: a mask of the whole batch, or none, would make a result depend on the neighbours."""
    encoder = networks()[0]
    among = make(encoder).reconstruct(sent(([], [1, 4], [2])), seeded())
    plain = make(encoder).reconstruct(sent(([], [], [])), seeded())
    assert torch.equal(among.images[0], plain.images[0])
    assert torch.equal(among.losses[0], plain.losses[0])
    assert not torch.equal(among.images[1], plain.images[1])
    alone = make(encoder).reconstruct(sent(([], [1, 4], [2]))[1:2], seeded(), rows=torch.tensor([1]))
    torch.testing.assert_close(alone.images[0], among.images[1], atol=1e-5, rtol=0)


def test_features_told_in_full_are_inverted_as_without_the_rule() -> None:
    """To the last bit, and without the time to look at the prior's faces."""
    encoder, prior = networks()
    attack, features = WhiteBox(encoder, prior, 12, 2, precision="32"), sent(([], []))
    result = attack.reconstruct(features, seeded())
    model = AttackerModel(encoder, prior, "32")
    starts = random_latents(torch.arange(2), 2, 4, 0).flatten(0, 1)
    found = invert(model, features.repeat_interleave(2, dim=0), starts, 12, 12)
    assert torch.equal(result.images.flatten(0, 1), model(found.z).images.float())
    assert torch.equal(result.losses.flatten(), found.loss.float())
    assert attack.told._fill is None


def test_a_channel_that_the_encoder_switches_off_itself_stays_evidence() -> None:
    """A dead channel, or one that a pruner switches off, is zero for every face of the attacker's own."""
    encoder, prior = networks()
    with torch.no_grad():
        encoder[0].weight[2] = 0
        encoder[0].bias[2] = -1
    encoder[1] = nn.ReLU()
    features = sent(([1, 2],))
    told = ToldToPhi(AttackerModel(encoder, prior, "32"))(features)
    assert told.flatten().tolist() == [1, 0, 1, 1, 1, 1]


def test_behind_the_split_nothing_is_withheld() -> None:
    """There a zero is what f makes of the feature: without it logits would be read in part."""
    encoder, prior = networks()
    head = nn.Sequential(nn.Flatten(), nn.Linear(16 * CHANNELS, 5)).double()
    through = nn.Sequential(encoder, ThroughHead(head, {"logits": 1.0}))
    told = ToldToPhi(AttackerModel(through, prior, "32"))(torch.zeros(2, 5, 1, 1).double())
    assert told.all()


def decoding() -> tuple[nn.Sequential, nn.Module, Fill]:
    """An invertible linear encoder, a decoder that is its inverse, and what is usual in its features."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(3, 12, 2, stride=2)).double()
    nn.init.orthogonal_(encoder[0].weight)
    inverse = nn.ConvTranspose2d(12, 3, 2, stride=2, bias=False).double()
    inverse.weight = encoder[0].weight
    moved = nn.Conv2d(12, 12, 1, groups=12).double()
    with torch.no_grad():
        moved.weight.fill_(1)
        moved.bias.copy_(-encoder[0].bias)
        fill = Fill((12, 2, 2)).double()
        fill.learn([encoder(faces(200, seed=4))])
    return encoder, nn.Sequential(moved, inverse, nn.Hardtanh(0, 1)), fill


def faces(count: int, seed: int) -> Tensor:
    """Images that vary around one of their own."""
    mean = torch.rand(1, 3, 4, 4, generator=seeded(9), dtype=torch.float64)
    others = torch.rand(count, 3, 4, 4, generator=seeded(seed), dtype=torch.float64)
    return 0.75 * mean + 0.25 * others


def dropped(encoder: nn.Module, images: Tensor) -> Tensor:
    """Their features, without four channels, others for each."""
    features = encoder(images).detach()
    for row, feature in enumerate(features):
        feature[torch.randperm(12, generator=seeded(row))[:4]] = 0
    return features


def test_hybrid_comes_nearer_to_the_face_than_by_taking_zeros_for_evidence() -> None:
    """The verified fault: with zeros as evidence the hybrid attack found nobody behind channel dropout."""
    encoder, decoder, fill = decoding()
    images = faces(5, seed=1)
    features = dropped(encoder, images)
    errors = []
    for usual in (fill, Fill((12, 2, 2)).double()):
        attack = Hybrid(encoder, nn.Sequential(usual, decoder), 200, 0.01)
        best = attack.reconstruct(features, seeded()).best()
        errors.append((best - images).square().mean(dim=(1, 2, 3)))
    assert (errors[0] < errors[1] / 2).all()


def test_hybrid_by_a_decoder_that_knows_nothing_of_what_is_usual_compares_every_channel() -> None:
    """Somebody else's decoder gives no means to tell a withheld channel: then the result is as it was."""
    encoder, decoder, _ = decoding()
    features = dropped(encoder, faces(3, seed=1))
    result = Hybrid(encoder, decoder, 10, 0.01).reconstruct(features, seeded())

    def objective(shown: Tensor) -> Tensor:
        return squared_distance(features, encoder(shown))

    expected = descend(objective, decoder(features).float().double(), 10, 0.01, lambda x: x.clamp(0, 1))
    torch.testing.assert_close(result.best(), expected.point.float())
    torch.testing.assert_close(result.losses[:, 0], expected.loss.float())
