"""Any network cut behind a layer: together, the halves are the network, and the features are a map."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models
from toy_vectors import Pooled, Several

from facecrafter.crafter.inversion import AttackerModel
from facecrafter.crafter.layers import public_layer
from facecrafter.nets.generator import Generator1
from facecrafter.nets.maps import FromMap, choose_unit, with_maps
from facecrafter.nets.split import split_network
from facecrafter.nets.target import Normalise
from facecrafter.nets.through_head import ThroughHead, layer_ends

IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def made(num_classes: int) -> nn.Module:
    return models.mobilenet_v3_small(num_classes=num_classes)


class Skipping(nn.Module):
    """A connection skips two of its layers; then come a mean and a linear map."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 4, stride=4)
        self.second, self.third = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.last = nn.Linear(4, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.first(images)
        return self.last((features + self.third(self.second(features))).mean((2, 3)))


class Odd(nn.Module):
    """What comes behind its first layer is `tail`."""

    def __init__(self, tail: str, num_classes: int) -> None:
        super().__init__()
        self.tail = tail
        self.first = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.BatchNorm2d(8))
        self.norm, self.one, self.two = nn.BatchNorm2d(8), nn.Linear(8, 8), nn.Linear(8, 6)
        self.heads = nn.ModuleList(nn.Linear(6, 1) for _ in range(num_classes))
        self.last = nn.Linear(8, num_classes)
        self.register_buffer("basis", torch.eye(8))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.first(images))
        if self.tail == "chunks":
            first, second = x.chunk(2, 1)
            x = torch.cat([first, second * 2], 1)
        if self.tail == "rows":  # whose first dimension is not the number of images
            rows = self.last(x.permute(0, 2, 3, 1).reshape(-1, 8))
            return rows.reshape(x.shape[0], -1, rows.shape[1]).mean(1)
        x = torch.nn.functional.linear(self.one(x.mean((2, 3))).relu(), self.basis)
        if self.tail == "parallel":
            return torch.cat([head(self.two(x)) for head in self.heads], 1)
        return self.last(x)


def exported(tmp_path: Path, network: nn.Module) -> str:
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(network.eval(), (IMAGES,), dynamic_shapes=shapes)
    torch.export.save(program, tmp_path / "net.pt2")
    return str(tmp_path / "net.pt2")


def crafts(encoder: nn.Module) -> None:
    """One response with finite derivatives, as every step of Crafter needs."""
    z = torch.randn(2, 6)
    at = AttackerModel(encoder.eval(), Generator1(6, 32, width=4).eval())(z)
    assert at.features.ndim == 4
    u = torch.randn_like(at.features)
    v = torch.randn_like(z)
    forward, backward = (u * at.d_phi.jvp(v)).sum(), (at.d_phi.vjp(u) * v).sum()
    torch.testing.assert_close(forward, backward, rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore:.*Jacobian rule", "ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("arch", "split"),
    [
        ("torchvision/mobilenet_v3_small", "features.3"),
        ("torchvision/mobilenet_v3_small", "avgpool"),
        ("test_nets_split.made", "features.3"),
    ],
)
def test_the_halves_are_the_network(arch: str, split: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    torch.manual_seed(0)
    halves = split_network(arch, 5, split)
    torch.manual_seed(0)
    whole = made(5).eval()
    found = halves.head.eval()(halves.encoder.eval()(IMAGES))
    torch.testing.assert_close(found, whole(Normalise()(IMAGES)))
    crafts(halves.encoder)


@pytest.mark.parametrize("place", ["features.3", "avgpool"])
def test_the_blocks_behind_a_cut_have_names(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the parts of a head of one's own: else no release could keep, and no attacker read, one of them."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    torch.manual_seed(0)
    halves = split_network("test_nets_split.made", 5, place)
    torch.manual_seed(0)
    whole, seen = made(5).eval(), {}
    behind = {"features.3": whole.features[4], "avgpool": whole.classifier[0]}[place]
    behind.register_forward_hook(lambda layer, given, found: seen.update({"0": found}))
    whole.classifier[-1].register_forward_hook(lambda layer, given, found: seen.update(hidden=given[0]))
    whole(Normalise()(IMAGES))
    features = halves.encoder.eval()(IMAGES)
    first = "0" if place == "features.3" else "1"  # behind the pooling comes what makes a vector of it
    for name, expected in ((first, seen["0"]), ("hidden", seen["hidden"])):
        for layer in (ThroughHead(halves.head.eval(), {name: 1.0}), public_layer(halves.head, name)):
            torch.testing.assert_close(layer(features).flatten(1), expected.flatten(1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("how", ["traced", pytest.param("exported", marks=pytest.mark.slow)])
@pytest.mark.parametrize("tail", ["plain", "chunks", "rows", "parallel"])
def test_what_gives_no_tensor_of_the_images_ends_no_block(
    tail: str, how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A chain cut there is another network for another number of images, or has a layer that is a tuple; and
    where the last linear map cannot be cut out, an earlier one's inputs are not `hidden`."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setattr(f"{__name__}.made_odd", lambda num_classes: Odd(tail, num_classes), raising=False)
    torch.manual_seed(0)
    whole = Odd(tail, 5).eval()
    torch.manual_seed(0)
    arch = f"{__name__}.made_odd" if how == "traced" else exported(tmp_path, whole)
    halves = split_network(arch, 5, "first")
    for half in halves:
        half.eval()
    images = torch.rand(5, 3, 32, 32)
    features = halves.encoder(images)
    torch.testing.assert_close(halves.head(features), whole(Normalise()(images)))
    ends = layer_ends(halves.head)
    assert ("hidden" in ends) == (tail in ("plain", "chunks"))
    for name in ends:
        assert len(ThroughHead(halves.head, {name: 1.0})(features)) == 5
    statistics = {name: value for name, value in halves.head.state_dict().items() if name.endswith("tracked")}
    assert all(value == 0 for value in statistics.values()), "no image was shown to its batch norms"


def test_blocks_that_a_connection_skips_stay_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What crosses is read later, too: cut there, the chain would be another network."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    halves = split_network("test_nets_split.Skipping", 5, "first")
    assert list(layer_ends(halves.head)) == ["feature", "0", "1", "2", "hidden", "logits"]
    whole = nn.Sequential(*halves).eval()
    torch.manual_seed(0)
    own = Skipping(5).eval()
    own.load_state_dict(dict(zip(own.state_dict(), whole.state_dict().values(), strict=True)))
    torch.testing.assert_close(whole(IMAGES), own(Normalise()(IMAGES)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*Jacobian rule")
def test_an_exported_network_is_cut(tmp_path: Path) -> None:
    whole = made(5)
    whole.features = whole.features[:6]  # what takes long is to record every layer
    whole.classifier[0] = nn.Linear(40, 1024)
    halves = split_network(exported(tmp_path, whole), 5, "features.3")
    weights = [sum(weight.numel() for weight in half.parameters()) for half in (*halves, whole)]
    assert weights[0] + weights[1] == weights[2], "each half has its own"
    expected = whole(Normalise()(IMAGES))
    features = halves.encoder(IMAGES)
    torch.testing.assert_close(halves.head(features), expected)
    hidden = ThroughHead(halves.head, {"hidden": 1.0})(features).flatten(1)
    torch.testing.assert_close(whole.classifier[-1](hidden), expected)
    crafts(halves.encoder)


@pytest.mark.filterwarnings("ignore:.*Jacobian rule", "ignore::DeprecationWarning")
def test_a_script_is_an_encoder_with_a_new_head(tmp_path: Path) -> None:
    encoder = made(5).features[:4].eval()
    torch.jit.script(encoder).save(str(tmp_path / "encoder.ts"))
    halves = split_network(str(tmp_path / "encoder.ts"), 5)
    torch.testing.assert_close(halves.encoder.eval()(IMAGES), encoder(Normalise()(IMAGES)))
    assert halves.head(halves.encoder(IMAGES)).shape == (3, 5)
    crafts(halves.encoder)


@pytest.mark.filterwarnings("ignore:.*Jacobian rule", "ignore::DeprecationWarning")
@pytest.mark.parametrize("split", [None, "relu_2"])
def test_a_file_of_onnx_is_an_encoder_or_cut_behind_an_operation(tmp_path: Path, split: str | None) -> None:
    """With weights that can be trained, and none of the other half."""
    pytest.importorskip("onnx2fx")
    whole = made(5).eval()
    file = str(tmp_path / "net.onnx")
    axes = {"images": {0: "count"}, "out": {0: "count"}}
    names = {"input_names": ["images"], "output_names": ["out"], "dynamic_axes": axes}
    saved = whole if split else whole.features[:4].eval()
    torch.onnx.export(saved, (IMAGES,), file, dynamo=False, **names)
    halves = split_network(file, 5, split)
    features = halves.encoder.eval()(IMAGES)
    found = halves.head.eval()(features)
    torch.testing.assert_close(found if split else features, saved(Normalise()(IMAGES)))
    assert found.shape == (3, 5)
    found.sum().backward()
    assert all(weight.grad is not None for half in halves for weight in half.parameters())
    crafts(halves.encoder.requires_grad_(False))


@pytest.mark.filterwarnings("ignore:.*Jacobian rule")
def test_patch_tokens_become_a_map() -> None:
    pytest.importorskip("timm")
    options = {"img_size": 32, "patch_size": 8, "class_token": False, "global_pool": "avg", "depth": 2}
    halves = split_network("timm/vit_tiny_patch16_224", 5, "blocks.0", options)
    assert halves.encoder(IMAGES).shape == (3, 192, 4, 4)
    assert halves.head(halves.encoder(IMAGES)).shape == (3, 5)
    crafts(halves.encoder)


@pytest.mark.parametrize(
    ("arch", "split", "said"),
    [
        ("torchvision/mobilenet_v3_small", None, "needs split"),
        ("torchvision/mobilenet_v3_small", "layer1", "has no layer 'layer1'"),
        ("torchvision/mobilenet_v3_small", "features.5.block.0", "also reads"),
        ("no_such_network", "a", "unknown"),
        ("torchvision/no_such_network", "a", "unknown"),
        ("no_such_module.make", "a", "arch=no_such_module.make cannot be imported .* PYTHONPATH"),
        ("torch.nn.no_such_network", "a", "cannot be imported"),
    ],
)
def test_what_cannot_be_cut_is_refused_with_the_reason(arch: str, split: str | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        split_network(arch, 5, split)


def test_images_are_normalised_by_what_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deviation alone was taken for the mean: every figure of a study would be of other images."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    halves = split_network("test_nets_split.made", 5, "features.3", {"std": [0.5, 0.4, 0.3]})
    normalise = halves.encoder[0]
    torch.testing.assert_close(normalise.std.flatten(), torch.tensor([0.5, 0.4, 0.3]))
    torch.testing.assert_close(normalise.mean, Normalise().mean)
    with pytest.raises(ValueError, match=r"mean is \[0.5\], but an image has three channels"):
        split_network("test_nets_split.made", 5, "features.3", {"mean": [0.5]})


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_files_that_cannot_be_cut_say_what_to_do(tmp_path: Path) -> None:
    script = torch.jit.script(made(5).features[:4].eval())
    script.save(str(tmp_path / "encoder.ts"))
    with pytest.raises(ValueError, match=r"encoder.ts is a program of TorchScript.*leave out split"):
        split_network(str(tmp_path / "encoder.ts"), 5, "1")


def test_an_encoder_of_several_tensors_is_refused() -> None:
    """A cut across a skip connection: the head would miss one of them."""
    with pytest.raises(ValueError, match="the encoder gives no tensor of vectors, tokens or maps: cut it"):
        with_maps(Several(), Pooled())


def test_the_first_layer_behind_a_split_of_vectors_is_no_copy_of_the_feature() -> None:
    """What gives a vector its shape back stood in its place: a release that kept layer 0 kept everything."""
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 6))
    head = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    cut = with_maps(encoder, head)
    features = cut.encoder(torch.rand(2, 3, 32, 32))
    assert features.shape == (2, 6, 1, 1)
    torch.testing.assert_close(public_layer(cut.head, "0")(features), head[0](features.flatten(1)))
    through = ThroughHead(cut.head, {"0": 1.0})(features)
    torch.testing.assert_close(through.flatten(1), head[0](features.flatten(1)))
    torch.testing.assert_close(public_layer(cut.head, "hidden")(features), head[:2](features.flatten(1)))


class Unit(nn.Module):
    """Ends in an l2 norm, as face recognition does, and may be larger or smaller than it."""

    def __init__(self, size: float, vectors: bool = True) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 32 * 32, 64) if vectors else nn.Conv2d(3, 4, 5, stride=4)
        self.size = size
        self.vectors = vectors

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer(x.flatten(1) if self.vectors else x)
        return self.size * nn.functional.normalize(x)


@pytest.mark.parametrize(("size", "vectors"), [(1e-3, True), (1.0, True), (1e3, True), (1e-3, False)])
def test_far_features_are_sent_in_a_unit_which_the_head_undoes(size: float, vectors: bool) -> None:
    """Settings of searches and decoders are for values of about 1: others' encoders looked safe."""
    encoder, head = Unit(size, vectors), nn.Sequential(nn.Flatten(), nn.LazyLinear(2))
    whole = nn.Sequential(encoder, head)
    expected = whole(IMAGES)
    cut = with_maps(encoder, head)
    unit = choose_unit(cut, IMAGES)
    features = cut.encoder(IMAGES)
    assert 0.7 < features.square().mean().sqrt() < 1.5
    assert torch.equal(features.flatten() * unit, encoder(IMAGES).flatten())
    assert torch.equal(cut.head(features), expected)
    assert choose_unit(cut, IMAGES) == unit  # measured again, the same
    crafts(cut.encoder)


def test_features_of_about_1_are_sent_as_they_are() -> None:
    cut = with_maps(Unit(4.0), nn.Linear(64, 2))
    assert choose_unit(cut, IMAGES) == 1
    assert not [name for half in cut for name in half.state_dict() if name.endswith("unit")]


def test_the_unit_is_loaded_with_the_weights_or_was_1() -> None:
    """A head that no longer undid the unit would answer something else, and say nothing."""
    cut, other = (with_maps(Unit(1e-3), nn.Sequential(nn.Linear(64, 2))) for _ in range(2))
    before = nn.ModuleList(cut).state_dict()
    choose_unit(cut, IMAGES)
    nn.ModuleList(other).load_state_dict(nn.ModuleList(cut).state_dict())
    assert torch.equal(other.head(other.encoder(IMAGES)), cut.head(cut.encoder(IMAGES)))
    assert torch.equal(other.encoder(IMAGES), cut.encoder(IMAGES))
    nn.ModuleList(other).load_state_dict(before)
    assert [layer.unit for layer in other.head.modules() if isinstance(layer, FromMap)] == [None]


def test_a_chain_of_the_users_own_kind_is_one_part() -> None:
    """Its parts in a row would be another network."""

    class Twice(nn.Sequential):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(input)

    encoder, head = Twice(nn.Conv2d(3, 4, 4, stride=4)), Twice(nn.Flatten(), nn.Linear(4 * 8 * 8, 2))
    cut = with_maps(encoder, head)
    assert torch.equal(cut.head(cut.encoder(IMAGES)), head(encoder(IMAGES)))


def test_a_part_that_stands_in_a_head_twice_is_computed_twice() -> None:
    encoder, relu = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 6)), nn.ReLU()
    head = nn.Sequential(relu, nn.Linear(6, 5), relu, nn.Linear(5, 2))
    cut = with_maps(encoder, head)
    torch.testing.assert_close(cut.head(cut.encoder(IMAGES)), head(encoder(IMAGES)))


def test_a_defence_and_an_attacker_see_one_layer_the_same_where_batch_norm_follows() -> None:
    head = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
    head[1].running_mean.fill_(2.0)
    features = torch.rand(2, 2, 2, 2)
    for name in ("0", "1", "hidden"):
        own, theirs = public_layer(head, name)(features), ThroughHead(head.eval(), {name: 1.0})(features)
        torch.testing.assert_close(own.flatten(1), theirs.flatten(1))
