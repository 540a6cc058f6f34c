"""What StyleGAN2's two networks are made of (Karras et al. 2020, "Analyzing and Improving ... StyleGAN").

Weights are drawn from N(0, 1) and scaled where they are used, so that Adam moves every layer alike. Sizes,
gains and the names of the parameters are those of NVIDIA's PyTorch code, so that its state dicts load.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facecrafter import ranks

_GAIN = math.sqrt(2)  # keeps the variance of a normal activation behind a leaky ReLU
_SLOPE = 0.2
_TAPS = (1 / 8, 3 / 8, 3 / 8, 1 / 8)  # of the low-pass filter, along each axis


def leaky_relu(x: Tensor) -> Tensor:
    """The activation without its gain of √2: it is linear in a positive gain, so this may go in before it."""
    return F.leaky_relu(x, _SLOPE)


class ScaledLinear(nn.Module):
    """x (N, inputs) -> (N, outputs), in full precision also under autocast.

    Args:
        inputs, outputs: sizes.
        activate: a leaky ReLU of gain √2 behind it.
        bias: every bias at first.
        rate: multiplies the learning rate of its parameters (0.01 in the mapping network).
    """

    def __init__(
        self, inputs: int, outputs: int, activate: bool = False, bias: float = 0.0, rate: float = 1.0
    ) -> None:
        super().__init__()
        # `forward` multiplies by the rate again. Adam's steps have one length whatever the
        # gradient's scale, so what changes is how far a step moves the product.
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.activate = activate
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        gain = self.rate * (_GAIN if self.activate else 1)
        with torch.autocast(x.device.type, enabled=False):
            weight = self.weight * (gain / math.sqrt(self.weight.shape[1]))
            out = F.linear(x.to(weight.dtype), weight, self.bias * gain)
        return leaky_relu(out) if self.activate else out


class Resample(nn.Module):
    """Zero-inserting upsampling, low-pass filter [1, 3, 3, 1] and decimation: (N, C, H, W) -> (N, C, h, w).

    On each axis this is one matrix, and maps beyond the edge are zero. As matrix products it is as fast as a
    depthwise convolution, and differentiated twice, as the penalties ask, three to five times faster.

    Args:
        inputs, outputs: sides of the maps.
        padding: zeros in front of the upsampled map.
        up, down: factors.
        gain: of the filter, on each axis.
    """

    matrix: Tensor

    def __init__(
        self, inputs: int, outputs: int, padding: int, up: int = 1, down: int = 1, gain: float = 1.0
    ) -> None:
        super().__init__()
        matrix = torch.zeros(outputs, inputs)
        for output in range(outputs):
            for tap, weight in enumerate(_TAPS):
                # A place on the upsampled map; between two inputs there is an inserted zero.
                place, between = divmod(output * down + tap - padding, up)
                if not between and 0 <= place < inputs:
                    matrix[output, place] = gain * weight
        self.register_buffer("matrix", matrix, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        matrix = self.matrix.to(x.dtype)
        # In channels_last this copies nothing. The filter is separable: one matrix for rows, then for
        # columns.
        maps = x.permute(0, 2, 3, 1).reshape(n, height, width * channels)
        maps = (matrix @ maps).reshape(n, -1, width, channels)
        return (matrix @ maps).permute(0, 3, 1, 2)


def modulated_conv2d(
    x: Tensor, weight: Tensor, styles: Tensor, demodulate: bool = True, up: bool = False, gain: float = 1.0
) -> Tensor:
    """A convolution whose weights are scaled anew for every sample (Equations 1 and 3).

    w'_oik = s_i·w_oik, demodulated by 1/√(Σ_ik w'_oik² + 1e-8). Scaling an input channel of the weights is
    scaling that channel of x, and demodulating is scaling an output channel: all samples share the one
    convolution with w.

    Args:
        x: (N, I, H, W).
        weight: (O, I, k, k), k odd.
        styles: s (N, I).
        demodulate: as above; else without the denominator.
        up: zeros between the pixels of x first; without padding then, so that sides become 2·H + k − 2.
        gain: of the result.

    Returns:
        (N, O, H, W), in the precision of the convolution.
    """
    scaled = x * styles.to(x.dtype)[:, :, None, None]
    if up:
        maps = F.conv_transpose2d(scaled, weight.transpose(0, 1), stride=2)
    else:
        maps = F.conv2d(scaled, weight, padding=weight.shape[-1] // 2)
    if not demodulate:
        return maps * gain
    with torch.autocast(x.device.type, enabled=False):
        # Σ_ik (s_i·w_oik)² = Σ_i s_i²·Σ_k w_oik²: no weights of (N, O, I, k, k) are ever made.
        energy = styles.square() @ weight.square().sum(dim=(2, 3)).T
        scale = gain * (energy + 1e-8).rsqrt()
    return maps * scale.to(maps.dtype)[:, :, None, None]


class StyledConv(nn.Module):
    """Modulated 3 x 3 convolution, noise, bias and leaky ReLU: (N, I, h, h) and w (N, d) -> (N, O, H, H).

    Args:
        inputs, outputs: channels I, O.
        style_dim: d.
        resolution: H; h is half of it with `up`, else the same.
        up: doubles the side.
    """

    noise_const: Tensor

    def __init__(self, inputs: int, outputs: int, style_dim: int, resolution: int, up: bool = False) -> None:
        super().__init__()
        # A bias of 1: at first the styles scatter around leaving the maps as they are.
        self.affine = ScaledLinear(style_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        # The unpadded transposed convolution makes 2h + 1 = H + 1 pixels a side. A gain of 2 on each axis
        # makes up for the zeros between them, three pixels in four.
        self.smooth = Resample(resolution + 1, resolution, padding=1, gain=2) if up else None

    def forward(self, x: Tensor, w: Tensor, random_noise: bool) -> Tensor:
        up = self.smooth is not None
        maps = modulated_conv2d(x, self.weight, self.affine(w), up=up, gain=_GAIN)
        if self.smooth is not None:
            maps = self.smooth(maps)
        noise = self.noise_const
        if random_noise:
            noise = ranks.randn(len(maps), 1, *noise.shape, device=noise.device, dtype=noise.dtype)
        noise = (_GAIN * self.noise_strength * noise).to(maps.dtype)
        return leaky_relu(maps + noise + (_GAIN * self.bias).to(maps.dtype)[:, None, None])


class ToRgb(nn.Module):
    """Modulated 1 x 1 convolution to an image: (N, I, H, W) and w (N, d) -> (N, 3, H, W)."""

    def __init__(self, inputs: int, style_dim: int) -> None:
        super().__init__()
        self.affine = ScaledLinear(style_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(3, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        # Without demodulation nothing else undoes the weights' scale of √I: here the styles do.
        styles = self.affine(w) / math.sqrt(self.weight.shape[1])
        image = modulated_conv2d(x, self.weight, styles, demodulate=False)
        return image.to(self.bias.dtype) + self.bias[:, None, None]


class ScaledConv(nn.Module):
    """Convolution of the discriminator: (N, I, H, W) -> (N, O, H, W), half the side with `down`.

    Args:
        inputs, outputs: channels I, O.
        kernel: its side, 1 or 3.
        resolution: H; only needed with `down`.
        down: low-pass filter and stride 2.
        activate: bias and a leaky ReLU of gain √2 behind it; without, it is linear and has no bias.
        gain: of the result.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        resolution: int = 0,
        down: bool = False,
        activate: bool = True,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if activate else None
        self.gain = gain * (_GAIN if activate else 1)
        self.stride, self.padding = 1, kernel // 2
        self.smooth: Resample | None = None
        if down and kernel == 1:  # what stride 2 would skip is not computed
            self.smooth = Resample(resolution, resolution // 2, padding=1, down=2)
        elif down:
            # The convolution's own padding goes into the filter's, so that stride 2 ends at half the side.
            self.smooth = Resample(resolution, resolution + 1, padding=1 + kernel // 2)
            self.stride, self.padding = 2, 0

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * (self.gain / math.sqrt(self.weight[0].numel()))
        if self.smooth is not None:
            x = self.smooth(x)
        if self.bias is None:
            return F.conv2d(x, weight, stride=self.stride, padding=self.padding)
        return leaky_relu(F.conv2d(x, weight, self.bias * self.gain, self.stride, self.padding))
