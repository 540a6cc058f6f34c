"""The documented shapes of target, decoder, amortizer and identity networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models

from facecrafter.nets.amortizer import Amortizer
from facecrafter.nets.augmentation import blur_and_noise, change_colours, flip_and_shift
from facecrafter.nets.decoder import Decoder, LinearDecoder
from facecrafter.nets.flow import Velocity
from facecrafter.nets.identity import IdentityNet
from facecrafter.nets.narrow import NarrowResNet18
from facecrafter.nets.target import ARCHITECTURES, Normalise, feature_shape
from facecrafter.nets.tracing import traced


@pytest.mark.parametrize(
    ("arch", "size", "shape"),
    [
        ("resnet18", 64, (64, 16, 16)),
        ("resnet18", 128, (64, 32, 32)),
        ("vgg16", 64, (128, 16, 16)),
        ("vgg16", 128, (128, 32, 32)),
        ("resnet50", 112, (256, 28, 28)),
        ("resnet18_quarter", 32, (16, 8, 8)),
    ],
)
def test_features_are_split_where_the_paper_splits(arch: str, size: int, shape: tuple[int, int, int]) -> None:
    encoder, head = ARCHITECTURES[arch](7)
    assert feature_shape(encoder, size) == shape
    assert encoder.training  # asking for the shape leaves batch norm as it was
    assert isinstance(encoder[0], Normalise)
    assert head.eval()(torch.rand(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_no_relu_of_a_target_works_in_place(arch: str) -> None:
    for half in ARCHITECTURES[arch](2):
        assert not any(layer.inplace for layer in half.modules() if isinstance(layer, nn.ReLU))


def test_at_full_width_the_narrow_resnet_is_torchvisions() -> None:
    """The same parameters under the same names give the same logits."""
    original, narrow = models.resnet18(num_classes=3).eval(), NarrowResNet18(3, width=64).eval()
    narrow.load_state_dict(original.state_dict())
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(narrow(images), original(images))


@pytest.mark.parametrize("look", [lambda network: feature_shape(network, 16), traced])
def test_looking_at_a_network_leaves_every_layer_in_its_mode(look) -> None:
    """A frozen batch norm inside of a network that trains would begin to follow the batches."""
    frozen = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    network = nn.Sequential(frozen, nn.BatchNorm2d(4))
    before = [layer.training for layer in network.modules()]
    statistics = [buffer.clone() for buffer in network.buffers()]
    look(network)
    assert [layer.training for layer in network.modules()] == before == [True, False, False, False, True]
    assert all(map(torch.equal, network.buffers(), statistics))


def test_an_encoder_without_a_feature_map_is_refused() -> None:
    with pytest.raises(ValueError, match="feature map"):
        feature_shape(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), 4)


@pytest.mark.parametrize(
    ("shape", "size"), [((64, 16, 16), 64), ((2, 32, 32), 128), ((2, 28, 28), 112), ((2, 8, 8), 8)]
)
def test_decoder_reaches_the_image(shape: tuple[int, int, int], size: int) -> None:
    images = Decoder(shape, size, width=8, blocks=1)(torch.randn(2, *shape))
    assert images.shape == (2, 3, size, size)
    assert images.min() >= 0
    assert images.max() <= 1


def test_decoder_refuses_what_doublings_cannot_reach() -> None:
    with pytest.raises(ValueError, match="power of two"):
        Decoder((2, 16, 16), 48)


def test_linear_decoder_has_the_papers_weights() -> None:
    with torch.device("meta"):
        decoder = LinearDecoder((64, 16, 16), 64)
        assert decoder(torch.empty(2, 64, 16, 16)).shape == (2, 3, 64, 64)
    assert decoder[1][0].weight.numel() == 134_217_728


@pytest.mark.parametrize("shape", [(64, 16, 16), (64, 32, 32), (256, 28, 28), (64, 12, 12), (64, 8, 8)])
def test_amortizer_ends_in_one_latent_per_feature(shape: tuple[int, int, int]) -> None:
    with torch.device("meta"):
        amortizer = Amortizer(shape, 20)
        assert amortizer(torch.empty(2, *shape)).shape == (2, 20)


def test_amortizer_has_the_papers_layers() -> None:
    with torch.device("meta"):
        convolutions = [layer for layer in Amortizer((64, 16, 16), 500) if isinstance(layer, nn.Conv2d)]
    assert [(layer.out_channels, layer.kernel_size[0], layer.stride[0]) for layer in convolutions] == [
        (128, 4, 2),
        (512, 4, 2),
        (1024, 4, 2),
        (512, 2, 1),
        (500, 1, 1),
    ]


def test_identity_net_exposes_its_penultimate_features() -> None:
    network = IdentityNet(6).eval()
    images = torch.rand(2, 3, 48, 48)
    features = network.embed(images)
    assert features.shape == (2, 200)
    torch.testing.assert_close(network(images), network.classifier(features))


def test_a_narrow_trunk_embeds_as_the_others_do() -> None:
    net = IdentityNet(5, "resnet18_quarter").eval()
    assert net.embed(torch.rand(2, 3, 32, 32)).shape == (2, 200)
    assert net(torch.rand(2, 3, 32, 32)).shape == (2, 5)


def test_an_unknown_trunk_is_refused() -> None:
    with pytest.raises(ValueError, match="resnet152"):
        IdentityNet(6, "alexnet")


def test_flip_and_shift_does_nothing_more() -> None:
    torch.manual_seed(0)
    images = torch.rand(20, 3, 8, 8)
    moved = flip_and_shift(images, shift=0.0)
    same = torch.isclose(moved, images, atol=1e-5).flatten(1).all(1)
    mirrored = torch.isclose(moved, images.flip(3), atol=1e-5).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 0 < same.sum() < 20


def test_shifts_stay_within_their_bound() -> None:
    torch.manual_seed(0)
    ramp = torch.linspace(0.5 / 10, 9.5 / 10, 10).expand(50, 3, 10, 10).transpose(2, 3)
    change = (flip_and_shift(ramp, shift=0.1) - ramp)[:, :, 2:-2]
    assert 0.05 < change.abs().max() <= 0.1 + 1e-5


@pytest.mark.parametrize("change", [lambda x: change_colours(x, 0.3), blur_and_noise])
@pytest.mark.parametrize("mixed", [False, True])
def test_augmented_images_differ_from_each_other_and_stay_in_range(change, mixed: bool) -> None:
    torch.manual_seed(0)
    images = torch.rand(1, 3, 16, 16).expand(2, -1, -1, -1)
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        changed = change(images)
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert not torch.allclose(changed[0], changed[1])


@pytest.mark.parametrize(("shape", "size"), [((64, 16, 16), 64), ((2, 28, 28), 112), ((5, 1, 1), 16)])
def test_velocities_are_as_large_as_the_image(shape: tuple[int, int, int], size: int) -> None:
    velocity = Velocity(shape, size, width=8, blocks=1)
    for block in (*velocity.middle, *(up.residual for up in velocity.up)):
        nn.init.ones_(block.second.weight)  # time joins in where blocks are no identities any more
    x, times, features = torch.randn(2, 3, size, size), torch.rand(2), torch.randn(2, *shape)
    found = velocity(x, times, features)
    assert found.shape == (2, 3, size, size)
    for other in ((x + 1, times, features), (x, times / 2, features), (x, times, features + 1)):
        assert not torch.allclose(velocity(*other), found), "it looks at all three"
