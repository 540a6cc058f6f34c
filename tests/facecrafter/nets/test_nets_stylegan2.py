"""StyleGAN2 against plain loops and the published layout: checkpoints of others must mean the same here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.signal import upfirdn
from small_networks import seeded
from torch import Tensor
from torch.nn import functional as F

from facecrafter.nets.stylegan2.checkpoint import load_stylegan2
from facecrafter.nets.stylegan2.discriminator import StyleDiscriminator, with_deviation
from facecrafter.nets.stylegan2.generator import StyleGenerator
from facecrafter.nets.stylegan2.layers import Resample, ScaledConv, ScaledLinear, modulated_conv2d

TAPS = np.array([1, 3, 3, 1]) / 8
FILTER = torch.tensor([1.0, 3, 3, 1]).outer(torch.tensor([1.0, 3, 3, 1])) / 64
LATENT, STYLE, LAYERS = 6, 5, 2
CHANNELS = {4: 8, 8: 8, 16: 6, 32: 3, 64: 1}  # min(96 / r, 8)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def official_state(resolution: int) -> dict[str, Tensor]:
    """A state dict of random numbers in the layout of NVIDIA's `G_ema`, name by name."""
    shapes: dict[str, tuple[int, ...]] = {"mapping.w_avg": (STYLE,)}
    for layer in range(LAYERS):
        shapes[f"mapping.fc{layer}.weight"] = (STYLE, STYLE if layer else LATENT)
        shapes[f"mapping.fc{layer}.bias"] = (STYLE,)
    side, inputs = 4, 0
    while side <= resolution:
        outputs, block = CHANNELS[side], f"synthesis.b{side}"
        shapes[f"{block}.const" if not inputs else f"{block}.conv0.weight"] = (
            (outputs, inputs, 3, 3) if inputs else (outputs, 4, 4)
        )
        shapes[f"{block}.conv1.weight"] = (outputs, outputs, 3, 3)
        shapes[f"{block}.torgb.weight"] = (3, outputs, 1, 1)
        shapes[f"{block}.torgb.bias"] = (3,)
        for layer, width in {"conv0": inputs, "conv1": outputs, "torgb": outputs}.items():
            if not width:
                continue
            shapes[f"{block}.{layer}.affine.weight"] = (width, STYLE)
            shapes[f"{block}.{layer}.affine.bias"] = (width,)
            if layer != "torgb":
                shapes[f"{block}.{layer}.bias"] = (outputs,)
                shapes[f"{block}.{layer}.noise_strength"] = ()
                shapes[f"{block}.{layer}.noise_const"] = (side, side)
        side, inputs = 2 * side, outputs
    random = seeded(resolution)
    state = {name: torch.randn(shape, generator=random) for name, shape in shapes.items()}
    layers = [name.removesuffix(".noise_const") for name in state if name.endswith("noise_const")]
    blocks = {layer.rpartition(".")[0] for layer in layers}
    return state | {f"{name}.resample_filter": FILTER for name in (*layers, *blocks)}


def filtered(x: Tensor, front: int, size: int, gain: float, up: int = 1, down: int = 1) -> Tensor:
    """scipy's upfirdn along both axes, from `front` on."""
    maps = x.numpy()
    for axis in (2, 3):
        maps = upfirdn(gain * TAPS, maps, up=up, axis=axis)
        maps = np.take(maps, range(front, front + size * down, down), axis=axis)
    return torch.from_numpy(maps)


class Reference:
    """The published network, sample by sample and layer by layer, in float64 (Karras et al. 2020, Fig. 2)."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = {name: value.double() for name, value in state.items()}

    def linear(self, name: str, x: Tensor, rate: float = 1.0) -> Tensor:
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        return x @ (weight * rate / weight.shape[1] ** 0.5).T + rate * bias

    def conv(self, name: str, x: Tensor, w: Tensor, up: bool) -> Tensor:
        samples = []
        for maps, style in zip(x, self.linear(f"{name}.affine", w), strict=True):
            weight = self.state[f"{name}.weight"] * style[None, :, None, None]
            weight = weight / (weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
            if up:
                apart = F.conv_transpose2d(maps[None], weight.transpose(0, 1), stride=2)
                samples.append(filtered(apart, 2, 2 * len(maps[0]), gain=2))
            else:
                samples.append(F.conv2d(maps[None], weight, padding=1))
        noise = self.state[f"{name}.noise_strength"] * self.state[f"{name}.noise_const"]
        bias = self.state[f"{name}.bias"][:, None, None]
        return F.leaky_relu(torch.cat(samples) + noise + bias, 0.2) * 2**0.5

    def image(self, name: str, x: Tensor, w: Tensor) -> Tensor:
        styles = self.linear(f"{name}.affine", w) / x.shape[1] ** 0.5
        weights = self.state[f"{name}.weight"][:, :, 0, 0] * styles[:, None]
        return torch.einsum("noi,nihw->nohw", weights, x) + self.state[f"{name}.bias"][:, None, None]

    def __call__(self, z: Tensor, resolution: int) -> Tensor:
        w = z / (z.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()
        for layer in range(LAYERS):
            w = F.leaky_relu(self.linear(f"mapping.fc{layer}", w, rate=0.01), 0.2) * 2**0.5
        x = self.state["synthesis.b4.const"].expand(len(z), -1, -1, -1)
        x = self.conv("synthesis.b4.conv1", x, w, up=False)
        image = self.image("synthesis.b4.torgb", x, w)
        side = 8
        while side <= resolution:
            x = self.conv(f"synthesis.b{side}.conv0", x, w, up=True)
            x = self.conv(f"synthesis.b{side}.conv1", x, w, up=False)
            image = filtered(image, 1, side, gain=2, up=2)
            image = image + self.image(f"synthesis.b{side}.torgb", x, w)
            side *= 2
        return image


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.save(official_state(32), tmp_path / "network.pt")
    return tmp_path / "network.pt"


@pytest.mark.parametrize("resolution", [32, 64])
def test_a_checkpoint_of_the_published_layout_makes_the_published_images(
    resolution: int, tmp_path: Path
) -> None:
    state = official_state(resolution)
    torch.save(state, tmp_path / "network.pt")
    generator = load_stylegan2(tmp_path / "network.pt").double()
    z = normal(3, LATENT)
    expected = Reference(state)(z, resolution)
    ws = generator.per_layer(generator.mapping(z))
    torch.testing.assert_close(generator.synthesis(ws), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(generator(z), ((expected + 1) / 2).clamp(0, 1), rtol=0, atol=1e-9)
    own = {name: value for name, value in state.items() if not name.endswith("resample_filter")}
    again = generator.float().state_dict()
    assert again.keys() == own.keys()
    assert all(torch.equal(again[name], value) for name, value in own.items())
    assert not any(weight.requires_grad for weight in generator.parameters())


def test_smaller_images_are_the_large_ones_as_pillow_resizes_them(checkpoint: Path) -> None:
    generator = load_stylegan2(checkpoint, 20)
    ws = generator.per_layer(generator.mapping(torch.randn(2, LATENT, generator=seeded())))
    for large, small in zip((generator.synthesis(ws) + 1) / 2, generator.show(ws), strict=True):
        for channel, found in zip(large.numpy(), small.numpy(), strict=True):
            resized = Image.fromarray(channel).resize((20, 20), Image.Resampling.BILINEAR)
            np.testing.assert_allclose(found, np.asarray(resized).clip(0, 1), atol=1e-4)
    with pytest.raises(ValueError, match=r"image_size=64.*ends at 32"):
        load_stylegan2(checkpoint, 64)


def break_key(state: dict[str, Tensor], name: str, value: Tensor | None) -> dict[str, Tensor]:
    return {**state, name: value} if value is not None else {key: state[key] for key in state if key != name}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mapping.w_avg", None),
        ("mapping.fc0.weight", torch.zeros(3)),
        ("synthesis.b4.const", None),
        ("synthesis.b16.conv0.affine.bias", None),
        ("synthesis.b8.conv1.noise_const", torch.zeros(4, 4)),
        ("synthesis.b8.skip.weight", torch.zeros(8, 8, 1, 1)),
        ("mapping.embed.weight", torch.zeros(5, 10)),
        ("synthesis.b8.conv0.resample_filter", torch.ones(4, 4) / 16),
        ("synthesis.b32.torgb.bias", torch.full((3,), torch.nan)),
        ("synthesis.b8.conv1.bias", "no tensor"),
    ],
)
def test_other_checkpoints_are_refused_naming_file_and_key(
    name: str, value: Tensor | None, tmp_path: Path
) -> None:
    torch.save(break_key(official_state(32), name, value), tmp_path / "network.pt")
    with pytest.raises(ValueError, match=r"network\.pt.*") as error:
        load_stylegan2(tmp_path / "network.pt")
    assert name in str(error.value)


def test_sizes_that_no_stylegan2_has_are_refused_before_they_take_memory(tmp_path: Path) -> None:
    huge = torch.zeros(1).expand(1, 10**6)  # few bytes on disk
    torch.save(official_state(32) | {"mapping.fc0.weight": huge}, tmp_path / "network.pt")
    with pytest.raises(ValueError, match="latent_dim=1000000 is too large"):
        load_stylegan2(tmp_path / "network.pt")
    torch.save(official_state(32) | {"synthesis.b9999.conv1.weight": torch.zeros(1)}, tmp_path / "network.pt")
    with pytest.raises(ValueError, match="resolution=9999 is too large"):
        load_stylegan2(tmp_path / "network.pt")


def test_files_that_are_no_state_dict_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.pt"):
        load_stylegan2(tmp_path / "absent.pt")
    (tmp_path / "network.pkl").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(ValueError, match=r"network\.pkl is damaged or no file of torch\.save"):
        load_stylegan2(tmp_path / "network.pkl")
    torch.save(StyleGenerator(16, 4, 4, 1, 32, 2), tmp_path / "module.pt")
    with pytest.raises(ValueError, match=r"module\.pt does not hold tensors alone"):
        load_stylegan2(tmp_path / "module.pt")
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(ValueError, match=r"list\.pt holds a list"):
        load_stylegan2(tmp_path / "list.pt")


@pytest.mark.parametrize(("up", "demodulate"), [(False, True), (False, False), (True, True)])
def test_one_convolution_for_all_samples_equals_weights_scaled_for_each(up: bool, demodulate: bool) -> None:
    x, weight, styles = normal(3, 4, 6, 6), normal(5, 4, 3, 3, seed=1), normal(3, 4, seed=2)
    expected = []
    for maps, style in zip(x, styles, strict=True):
        scaled = weight * style[None, :, None, None]
        if demodulate:
            scaled = scaled / (scaled.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if up:
            expected.append(F.conv_transpose2d(maps[None], scaled.transpose(0, 1), stride=2))
        else:
            expected.append(F.conv2d(maps[None], scaled, padding=1))
    found = modulated_conv2d(x, weight, styles, demodulate, up, gain=1.5)
    torch.testing.assert_close(found, 1.5 * torch.cat(expected))


def test_demodulation_gives_white_noise_unit_variance_whatever_the_style() -> None:
    """What demodulation is for: a style must not blow up the maps of the layers behind it."""
    x, weight = normal(2, 16, 64, 64), normal(4, 16, 3, 3, seed=1)
    styles = normal(2, 16, seed=2) * torch.tensor([[0.01], [100.0]])
    inner = modulated_conv2d(x, weight, styles)[:, :, 1:-1, 1:-1]
    torch.testing.assert_close(inner.var(dim=(2, 3)), torch.ones(2, 4).double(), rtol=0.15, atol=0)
    untamed = modulated_conv2d(x, weight, styles, demodulate=False)
    assert untamed[1].var() / untamed[0].var() > 1e6


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (Resample(6, 12, padding=2, up=2, gain=2), lambda x: filtered(x, 1, 12, gain=2, up=2)),
        (Resample(6, 5, padding=1, gain=2), lambda x: filtered(x, 2, 5, gain=2)),
        (Resample(6, 7, padding=2), lambda x: filtered(x, 1, 7, gain=1)),
        (Resample(6, 3, padding=1, down=2), lambda x: filtered(x, 2, 3, gain=1, down=2)),
    ],
)
def test_resampling_is_scipys_upfirdn(layer: Resample, expected) -> None:
    x = normal(2, 3, 6, 6)
    torch.testing.assert_close(layer.double()(x), expected(x))


def test_resampling_keeps_a_constant_away_from_the_edge() -> None:
    ones = torch.ones(1, 1, 8, 8)
    for layer in (Resample(8, 16, padding=2, up=2, gain=2), Resample(8, 4, padding=1, down=2)):
        assert torch.equal(layer(ones)[..., 2:-2, 2:-2], torch.ones_like(layer(ones)[..., 2:-2, 2:-2]))


@pytest.mark.parametrize("kernel", [1, 3])
def test_halving_convolutions_filter_first_and_then_skip(kernel: int) -> None:
    conv = ScaledConv(3, 4, kernel, resolution=8, down=True, activate=False).double()
    x = normal(2, 3, 8, 8)
    weight = conv.weight.detach() / (3 * kernel**2) ** 0.5
    zeros = 1 + kernel // 2
    smooth = filtered(F.pad(x, [zeros] * 4), 3, 8 + 2 * zeros - 3, gain=1)
    torch.testing.assert_close(conv(x).detach(), F.conv2d(smooth, weight)[:, :, ::2, ::2])


def test_the_deviation_of_a_group_is_that_of_a_plain_loop() -> None:
    x = normal(8, 3, 4, 4).numpy()
    for sample, maps in enumerate(with_deviation(torch.from_numpy(x))[:, 3]):
        group = x[sample % 2 :: 2]  # the other three are N / 4 = 2 places apart
        expected = np.sqrt(group.var(axis=0) + 1e-8).mean()
        torch.testing.assert_close(maps, torch.full((4, 4), expected).double())


def test_equal_fakes_look_equal_to_the_discriminator() -> None:
    x = normal(1, 3, 4, 4)
    assert with_deviation(x.expand(8, -1, -1, -1))[:, 3].max() < 1.1e-4
    for count in (1, 5, 6):  # batches that four does not divide
        assert with_deviation(normal(count, 3, 4, 4)).shape == (count, 4, 4, 4)


def test_an_untrained_layer_keeps_the_energy_of_its_maps() -> None:
    """Else signals die or explode with depth. E[(√2·LeakyReLU(x))²] = 1 + 0.2² for x ~ N(0, 1)."""
    torch.manual_seed(0)
    with torch.no_grad():
        maps = ScaledConv(64, 256, kernel=3)(torch.randn(4, 64, 34, 34))[:, :, 1:-1, 1:-1]
        values = ScaledLinear(256, 256, activate=True, rate=0.01)(torch.randn(256, 256))
    assert maps.square().mean().item() == pytest.approx(1.04, rel=0.03)
    assert values.square().mean().item() == pytest.approx(1.04, rel=0.03)


def test_noise_is_constant_unless_asked_for(checkpoint: Path) -> None:
    generator = load_stylegan2(checkpoint)
    ws = generator.per_layer(generator.mapping(torch.randn(2, LATENT)))
    assert torch.equal(generator.synthesis(ws), generator.synthesis(ws))
    assert not torch.allclose(generator.synthesis(ws, random_noise=True), generator.synthesis(ws), atol=1e-2)


def test_bfloat16_images_are_near_those_of_full_precision() -> None:
    """Mapping, styles and images stay in float32; only the convolutions run in bfloat16."""
    torch.manual_seed(0)
    generator = StyleGenerator(32, 16, 16, 4, 512, 32)
    z = torch.randn(4, 16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        fast = generator(z)
    assert fast.dtype == torch.float32
    assert (fast - generator(z)).abs().max() < 0.03


@pytest.mark.parametrize("image_size", [8, 48, 112])
def test_sizes_that_do_not_double_from_four_are_refused(image_size: int) -> None:
    with pytest.raises(ValueError, match=f"image_size={image_size}.*power of two from 16 up"):
        StyleGenerator(image_size, 4, 4, 1, 32, 2)
    with pytest.raises(ValueError, match=f"image_size={image_size}.*power of two from 16 up"):
        StyleDiscriminator(image_size, 32, 2)
