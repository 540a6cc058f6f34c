"""The discriminator of StyleGAN2 (Karras et al. 2020), configuration F."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from facecrafter import ranks
from facecrafter.nets.generator import IMAGE_CHANNELS
from facecrafter.nets.stylegan2.generator import channels_at, resolutions
from facecrafter.nets.stylegan2.layers import ScaledConv, ScaledLinear

_GROUP = 4
_LAST = 4  # side of the last map


class StyleDiscriminator(nn.Module):
    """Images (N, 3, H, W) in [-1, 1] -> logits (N,): how much more likely a face is than a fake.

    Args:
        resolution: H = W, a power of two.
        channel_base, channel_max: at side r there are min(channel_base / r, channel_max) channels.
    """

    def __init__(self, resolution: int, channel_base: int = 32768, channel_max: int = 512) -> None:
        super().__init__()
        sides = resolutions(resolution)[::-1]
        channels = [channels_at(side, channel_base, channel_max) for side in sides]
        blocks = [
            _Halving(inputs, outputs, side)
            for (inputs, outputs), side in zip(pairwise(channels), sides, strict=False)
        ]
        self.trunk = nn.Sequential(ScaledConv(IMAGE_CHANNELS, channels[0], kernel=1), *blocks)
        last = channels[-1]
        self.conv = ScaledConv(last + 1, last, kernel=3)
        self.fc = ScaledLinear(last * _LAST**2, last, activate=True)
        self.out = ScaledLinear(last, 1)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.trunk(images.contiguous(memory_format=torch.channels_last))
        maps = self.conv(with_deviation(maps))
        logits: Tensor = self.out(self.fc(maps.flatten(1)))[:, 0]
        return logits


class _Halving(nn.Module):
    """A residual block, and half the side."""

    def __init__(self, inputs: int, outputs: int, resolution: int) -> None:
        super().__init__()
        half = math.sqrt(0.5)  # keeps the variance of the sum
        self.conv0 = ScaledConv(inputs, inputs, kernel=3)
        self.conv1 = ScaledConv(inputs, outputs, 3, resolution, down=True, gain=half)
        self.skip = ScaledConv(inputs, outputs, 1, resolution, down=True, activate=False, gain=half)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.skip(x) + self.conv1(self.conv0(x))
        return out


def with_deviation(x: Tensor) -> Tensor:
    """x (N, C, H, W) with one more map that says how much the samples of a group differ: (N, C + 1, H, W).

    A group holds four samples, or as many as divide N. Samples i and i + N / 4 are in one group, as in the
    published code. Its value is the mean over channels and pixels of their standard deviations (Karras et
    al. 2018, section 3): fakes that are all alike are easily told.
    """
    whole = ranks.gathered(x)
    n = len(whole)
    group = next(size for size in range(min(_GROUP, n), 0, -1) if n % size == 0)
    apart = whole.to(torch.promote_types(x.dtype, torch.float32)).reshape(group, -1, *x.shape[1:])
    variance = (apart - apart.mean(dim=0)).square().mean(dim=0)  # several times as fast as `var`
    # The constant keeps the root's slope finite where all samples of a group are alike.
    deviation = (variance + 1e-8).sqrt().mean(dim=(1, 2, 3))
    maps = ranks.own(deviation.repeat(group))[:, None, None, None].expand(-1, 1, *x.shape[2:])
    return torch.cat([x, maps.to(x.dtype)], dim=1)
