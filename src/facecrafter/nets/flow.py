"""A decoder that draws: images flow out of noise along a velocity that knows the feature."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from facecrafter.losses.flow_matching import flow_along
from facecrafter.nets.decoder import channels_upwards
from facecrafter.nets.generator import IMAGE_CHANNELS

_FREQUENCIES = 16


class Flow(nn.Module):
    """Features (N, C, h, w) -> draws (N, R, 3, H, W) in [0, 1] of the images that they may have come from.

    Draw r flows out of the same noise for every feature, so that nothing is random once that is drawn.
    Inside, pixels lie in [-1, 1].

    Args:
        velocity: v(x, t, F).
        noise: where each of the R draws begins (R, 3, H, W), standard normal.
        steps: of Euler's method.
    """

    noise: Tensor

    def __init__(self, velocity: nn.Module, noise: Tensor, steps: int) -> None:
        super().__init__()
        self.velocity = velocity
        self.register_buffer("noise", noise)
        self.steps = steps

    def forward(self, features: Tensor) -> Tensor:
        # One draw after the other: as many images at a time as there are features.
        return torch.stack([self._drawn(noise, features) for noise in self.noise], dim=1)

    def _drawn(self, noise: Tensor, features: Tensor) -> Tensor:
        start = noise.expand(len(features), *noise.shape)
        found = flow_along(lambda x, t: self.velocity(x, t, features), start, self.steps)
        return (found + 1).div(2).clamp(0, 1)


class Velocity(nn.Module):
    """A U-Net v(x, t, F): where a noisy image x is going at time t, given the feature F.

    From the image down to the feature's own resolution, where the feature joins, and up again beside what was
    seen on the way down. As in `Decoder`, most of the work is done at the feature's resolution, and no norm
    hides its magnitude.

    Args:
        feature_shape: (C, h, w) with h = w.
        image_size: h times a power of two.
        width: channels at the feature's resolution; every doubling halves them, down to 32.
        blocks: residual blocks at the feature's resolution.
    """

    def __init__(
        self, feature_shape: tuple[int, int, int], image_size: int, width: int = 64, blocks: int = 3
    ) -> None:
        super().__init__()
        widths = channels_upwards(feature_shape, image_size, width)
        self.time = nn.Sequential(_Waves(), nn.Linear(2 * _FREQUENCIES, width), nn.SiLU())
        self.first = nn.Conv2d(IMAGE_CHANNELS, widths[-1], 3, padding=1)
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        for wide, narrow in pairwise(widths):
            # Built from the feature upwards; walked from the image down.
            self.down.insert(0, nn.Conv2d(narrow, wide, 4, stride=2, padding=1))
            self.up.append(_Up(wide, narrow, width))
        self.join = nn.Conv2d(widths[0] + feature_shape[0], width, 3, padding=1)
        self.middle = nn.ModuleList([_TimedResidual(width, width) for _ in range(blocks)])
        self.last = nn.Conv2d(widths[-1], IMAGE_CHANNELS, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor, features: Tensor) -> Tensor:
        """Images x (N, 3, H, W), times t (N,) in [0, 1], features (N, C, h, w) -> velocities (N, 3, H, W)."""
        time = self.time(t)
        maps = self.first(x)
        seen = []
        for down in self.down:
            seen.append(maps)
            maps = down(maps).relu()
        maps = self.join(torch.cat([maps, features.to(maps.dtype)], dim=1))
        for block in self.middle:
            maps = block(maps, time)
        for up in self.up:
            maps = up(maps, seen.pop(), time)
        velocity: Tensor = self.last(maps)
        return velocity


class _TimedResidual(nn.Module):
    def __init__(self, channels: int, time: int) -> None:
        super().__init__()
        self.shift = nn.Linear(time, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        # It begins as the identity; else the first, fast steps may switch all of its units off for good.
        nn.init.zeros_(self.second.weight)

    def forward(self, maps: Tensor, time: Tensor) -> Tensor:
        out: Tensor = maps + self.second((self.first(maps) + self.shift(time)[:, :, None, None]).relu())
        return out


class _Up(nn.Module):
    def __init__(self, wide: int, narrow: int, time: int) -> None:
        super().__init__()
        self.larger = nn.Sequential(nn.Conv2d(wide, 4 * narrow, 3, padding=1), nn.PixelShuffle(2))
        self.residual = _TimedResidual(narrow, time)

    def forward(self, maps: Tensor, seen: Tensor, time: Tensor) -> Tensor:
        out: Tensor = self.residual((self.larger(maps) + seen).relu(), time)
        return out


class _Waves(nn.Module):
    """Times (N,) -> sines and cosines (N, 2 · frequencies), from half a period over [0, 1] up."""

    def forward(self, t: Tensor) -> Tensor:
        rates = math.pi * 2 ** torch.linspace(0, 6, _FREQUENCIES, device=t.device, dtype=t.dtype)
        angles = t[:, None] * rates
        return torch.cat([angles.sin(), angles.cos()], dim=1)
