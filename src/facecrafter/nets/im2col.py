"""A convolution as one matrix product over its patches (im2col), for maps too small for the usual kernels.

On a processor, the weight gradient of a convolution onto a 4 x 4 map runs at a twentieth of the speed of the
matrix product that it is.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

_LARGEST_MAP = 64  # output positions: above it, convolution kernels are faster and need no copy


class Im2ColConv2d(nn.Conv2d):
    """`nn.Conv2d` with a square kernel, stride and zero padding: same weights, same values up to rounding."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, padding: int) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, padding)
        self.window = (kernel, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) -> (N, out_channels, h, w)."""
        _, stride, _ = self.window
        # Input positions / stride² stand for those of the output, up to the border.
        if x.device.type != "cpu" or x.shape[2] * x.shape[3] > _LARGEST_MAP * stride**2:
            return super().forward(x)
        # Autocast casts where it multiplies; casting before the copy halves what is copied.
        if torch.is_autocast_enabled("cpu"):
            x = x.to(torch.get_autocast_dtype("cpu"))
        patches = _Im2Col.apply(x.permute(0, 2, 3, 1), self.window)
        # In the order of a patch: row, column, channel.
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)  # (out_channels, kernel · kernel · C)
        return F.linear(patches, weight, self.bias).permute(0, 3, 1, 2)


Window = tuple[int, int, int]  # kernel, stride, padding


class _Im2Col(Function):
    """Maps (N, H, W, C) -> patches (N, h, w, kernel · kernel · C). Linear; its adjoint is `_Col2Im`."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, window: Window) -> Tensor:
        ctx.size, ctx.window = maps.shape[1:3], window
        return _im2col(maps, window)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _Col2Im.apply(grad, ctx.size, ctx.window), None


class _Col2Im(Function):
    """The adjoint of `_Im2Col`, differentiable again, as the gradient penalty needs it."""

    @staticmethod
    def forward(ctx: Any, patches: Tensor, size: torch.Size, window: Window) -> Tensor:
        ctx.window = window
        return _col2im(patches, size, window)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _Im2Col.apply(grad, ctx.window), None, None


def _im2col(maps: Tensor, window: Window) -> Tensor:
    kernel, stride, padding = window
    padded = F.pad(maps, (0, 0, padding, padding, padding, padding)).contiguous()
    n, height, width, channels = padded.shape
    rows, columns = ((side - kernel) // stride + 1 for side in (height, width))
    image, row, column, _ = padded.stride()
    strides = (image, stride * row, stride * column, row, column, 1)
    # Neighbouring patches overlap in this view; only `flatten` copies.
    return padded.as_strided((n, rows, columns, kernel, kernel, channels), strides).flatten(3)


def _col2im(patches: Tensor, size: torch.Size, window: Window) -> Tensor:
    kernel, stride, padding = window
    n, rows, columns, _ = patches.shape
    patches = patches.reshape(n, rows, columns, kernel, kernel, -1)
    padded = patches.new_zeros(n, size[0] + 2 * padding, size[1] + 2 * padding, patches.shape[5])
    for i in range(kernel):
        for j in range(kernel):
            # Pixels overlap between patches, but not for one (i, j): each sum adds to a pixel at most once.
            target = padded[:, i : i + stride * rows : stride, j : j + stride * columns : stride]
            target[:, :rows, :columns] += patches[:, :, :, i, j]
    return padded[:, padding : padding + size[0], padding : padding + size[1]]
