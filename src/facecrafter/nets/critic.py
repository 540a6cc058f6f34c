"""The Wasserstein critic D (Crafter, Appendix H)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facecrafter.nets.generator import IMAGE_CHANNELS, halvings
from facecrafter.nets.im2col import Im2ColConv2d

_SMALLEST_IMAGE = 32  # below it, the last instance norm would see a single pixel and return zero


class Critic(nn.Sequential):
    """Images (N, 3, H, W) in [0, 1] -> one unbounded score each, (N,).

    Convolutions 5 x 5 with stride 2 (four, one more for 128 x 128), doubling the channels from `width` up to
    8 x width, and a last convolution as large as the map that is left. The norm is over each image alone, as
    the gradient penalty asks (Gulrajani et al. 2017, section 4).
    """

    def __init__(self, image_size: int, width: int = 64) -> None:
        if image_size < _SMALLEST_IMAGE:
            raise ValueError(f"image_size={image_size} is too small for the critic; use {_SMALLEST_IMAGE} up")
        stages = halvings(image_size, at_least=4, largest=7)
        channels = [IMAGE_CHANNELS, *(width * min(2**stage, 8) for stage in range(stages))]
        layers: list[nn.Module] = []
        for stage in range(stages):
            inputs, outputs = channels[stage : stage + 2]
            layers.append(Im2ColConv2d(inputs, outputs, kernel=5, stride=2, padding=2))
            if stage > 0:
                layers.append(InstanceNorm2d(outputs, affine=True))
            layers.append(nn.LeakyReLU(0.2))
            image_size = (image_size + 1) // 2
        super().__init__(*layers, nn.Conv2d(channels[-1], 1, image_size), nn.Flatten(0))
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        x = images.contiguous(memory_format=torch.channels_last)
        for layer in self:
            x = layer(x)
        return x


class InstanceNorm2d(nn.InstanceNorm2d):
    """The same norm, with its means as matrix products: no copy out of channels_last, and half the time."""

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) -> (N, C, H, W)."""
        n, channels, height, width = x.shape
        maps = x.permute(0, 2, 3, 1).reshape(n, height * width, channels)
        average = maps.new_full((n, 1, height * width), 1 / (height * width))
        centred = maps - (average @ maps).to(maps.dtype)
        variance = (average @ centred.square()).float()
        # In float32: beside ε, a small variance in bfloat16 has two digits left.
        scale = (variance + self.eps).rsqrt() * self.weight
        normed = centred * scale.to(x.dtype) + self.bias.to(x.dtype)
        return normed.reshape(n, height, width, channels).permute(0, 3, 1, 2)
