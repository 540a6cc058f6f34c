"""The generator of StyleGAN2 (Karras et al. 2020), configuration F, at any size that is a power of two."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facecrafter.nets.stylegan2.layers import Resample, ScaledLinear, StyledConv, ToRgb

_SMALLEST = 4
_SMALLEST_IMAGE = 16
_MAPPING_RATE = 0.01


def resolutions(image_size: int) -> list[int]:
    """4, 8, ..., `image_size`: the sides of the maps.

    Raises:
        ValueError: `image_size` is no power of two, or too small.
    """
    if image_size < _SMALLEST_IMAGE or image_size & (image_size - 1):
        raise ValueError(
            f"image_size={image_size} is no size of a StyleGAN2, whose maps double from 4 x 4: "
            f"use a power of two from {_SMALLEST_IMAGE} up"
        )
    return [2**exponent for exponent in range(2, image_size.bit_length())]


def channels_at(resolution: int, channel_base: int, channel_max: int) -> int:
    """Channels of the maps of one resolution: halved with every doubling of the side, up to a limit."""
    return min(channel_base // resolution, channel_max)


class Mapping(nn.ModuleDict):
    """Latents z (N, latent_dim) -> styles w (N, style_dim), in full precision.

    Attributes:
        w_avg: the mean w (style_dim,), which truncation draws towards.
    """

    w_avg: Tensor

    def __init__(self, latent_dim: int, style_dim: int, layers: int) -> None:
        super().__init__()
        for layer in range(layers):
            inputs = style_dim if layer else latent_dim
            self[f"fc{layer}"] = ScaledLinear(inputs, style_dim, activate=True, rate=_MAPPING_RATE)
        self.latent_dim = latent_dim
        self.register_buffer("w_avg", torch.zeros(style_dim))

    def forward(self, z: Tensor) -> Tensor:
        # Only the direction of z counts, as published.
        w = z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.values():
            w = layer(w)
        return w


class _Start(nn.Module):
    """Two styles -> what they make of the learned 4 x 4 map, and its image."""

    def __init__(self, channels: int, style_dim: int) -> None:
        super().__init__()
        self.const = nn.Parameter(torch.randn(channels, _SMALLEST, _SMALLEST))
        self.conv1 = StyledConv(channels, channels, style_dim, _SMALLEST)
        self.torgb = ToRgb(channels, style_dim)

    def forward(self, ws: Tensor, random_noise: bool) -> tuple[Tensor, Tensor]:
        start = self.const.expand(len(ws), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        x = self.conv1(start, ws[:, 0], random_noise)
        return x, self.torgb(x, ws[:, 1])


class _Doubling(nn.Module):
    """Maps of half the side, the image so far and three styles -> maps, and the image with their part."""

    def __init__(self, inputs: int, outputs: int, style_dim: int, resolution: int) -> None:
        super().__init__()
        self.conv0 = StyledConv(inputs, outputs, style_dim, resolution, up=True)
        self.conv1 = StyledConv(outputs, outputs, style_dim, resolution)
        self.torgb = ToRgb(outputs, style_dim)
        self.enlarge = Resample(resolution // 2, resolution, padding=2, up=2, gain=2)

    def forward(self, x: Tensor, image: Tensor, ws: Tensor, random_noise: bool) -> tuple[Tensor, Tensor]:
        x = self.conv0(x, ws[:, 0], random_noise)
        x = self.conv1(x, ws[:, 1], random_noise)
        # The image is a sum over all blocks: in bfloat16 the later, finer parts would be rounded away.
        with torch.autocast(x.device.type, enabled=False):
            image = self.enlarge(image)
        return x, image + self.torgb(x, ws[:, 2])


class Synthesis(nn.ModuleDict):
    """Styles, one for each layer, (N, n_styles, style_dim) -> images (N, 3, H, W), about in [-1, 1]."""

    def __init__(self, resolution: int, style_dim: int, channel_base: int, channel_max: int) -> None:
        sides = resolutions(resolution)
        channels = [channels_at(side, channel_base, channel_max) for side in sides]
        super().__init__({"b4": _Start(channels[0], style_dim)})
        for stage, side in enumerate(sides[1:]):
            inputs, outputs = channels[stage : stage + 2]
            self[f"b{side}"] = _Doubling(inputs, outputs, style_dim, side)
        self.n_styles = 2 * len(sides)

    def forward(self, ws: Tensor, random_noise: bool = False) -> Tensor:
        start, *blocks = self.values()
        x, image = start(ws[:, :2], random_noise)
        for stage, block in enumerate(blocks):  # an image shares its style with the next block's first layer
            x, image = block(x, image, ws[:, 2 * stage + 1 : 2 * stage + 4], random_noise)
        return cast(Tensor, image)


class StyleGenerator(nn.Module):
    """G: latents (N, latent_dim) -> images (N, 3, H, W) in [0, 1].

    Its parameters have the names of NVIDIA's `G_ema`. The defaults are those of configuration F. Noise is the
    constant one, so that a latent has one image, unless random noise is asked for, as in training.

    Args:
        resolution: side of the maps it ends with; a power of two.
        latent_dim: size of z.
        style_dim: size of w.
        mapping_layers: from z to w.
        channel_base, channel_max: at side r there are min(channel_base / r, channel_max) channels.
        image_size: side of the images, `resolution` if not given; smaller ones are its images, averaged down.
    """

    def __init__(
        self,
        resolution: int,
        latent_dim: int = 512,
        style_dim: int = 512,
        mapping_layers: int = 8,
        channel_base: int = 32768,
        channel_max: int = 512,
        image_size: int | None = None,
    ) -> None:
        super().__init__()
        self.resolution = resolution
        self.image_size = image_size or resolution
        if self.image_size > resolution:
            raise ValueError(
                f"image_size={image_size}, but this generator ends at {resolution}: it has no more detail "
                f"to give; use at most {resolution}"
            )
        self.mapping = Mapping(latent_dim, style_dim, mapping_layers)
        self.synthesis = Synthesis(resolution, style_dim, channel_base, channel_max)
        self.to(memory_format=torch.channels_last)

    def per_layer(self, w: Tensor) -> Tensor:
        """One style for all layers: w (N, style_dim) -> (N, n_styles, style_dim)."""
        return w[:, None].expand(-1, self.synthesis.n_styles, -1)

    def show(self, ws: Tensor) -> Tensor:
        """Styles (N, n_styles, style_dim) -> images (N, 3, H, W) in [0, 1]."""
        images: Tensor = (self.synthesis(ws) + 1) / 2
        if self.image_size < self.resolution:
            side = (self.image_size, self.image_size)
            images = F.interpolate(images, side, mode="bilinear", antialias=True)
        return images.clamp(0, 1)

    def forward(self, z: Tensor) -> Tensor:
        return self.show(self.per_layer(self.mapping(z)))
