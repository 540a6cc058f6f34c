"""Layers that look beyond one image, made to see the whole batch where several ranks share it."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.ops import StochasticDepth

from facecrafter import ranks

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, StochasticDepth)
REFUSED = (_BatchNorm, nn.modules.dropout._DropoutNd)


class SharedNorm(_BatchNorm):
    """A batch norm whose statistics are those of all ranks.

    On a GPU that is torch's SyncBatchNorm. This is none itself, as DDP refuses those on a processor.
    """

    process_group = None
    _check_non_zero_input_channels = nn.SyncBatchNorm._check_non_zero_input_channels

    def forward(self, x: Tensor) -> Tensor:
        if ranks.current() == ranks.WHOLE or not self.training:
            return super().forward(x)
        if x.is_cuda:
            return nn.SyncBatchNorm.forward(self, x)  # type: ignore[arg-type]  # it asks for no more than this
        return self._of_all_ranks(x)

    def _of_all_ranks(self, x: Tensor) -> Tensor:
        others = [dim for dim in range(x.ndim) if dim != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        values = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        count = x.numel() // x.shape[1] * ranks.current().ranks
        mean = ranks.total(values.sum(others)) / count
        centred = values - mean.view(shape)
        variance = ranks.total(centred.square().sum(others)) / count
        if self.track_running_stats:
            self._remember(mean.detach(), variance.detach() * count / (count - 1))
        normed = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normed = normed * self.weight.view(shape) + self.bias.view(shape)
        return normed.to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        weight = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), weight)
        self.running_var.lerp_(variance.to(self.running_var), weight)


class SharedDropout(nn.Module):
    """A layer that multiplies by random numbers: they are drawn for the whole batch."""

    def forward(self, x: Tensor) -> Tensor:
        if ranks.current() == ranks.WHOLE or not self.training:
            plain: Tensor = super().forward(x)
            return plain
        factors: Tensor = super().forward(torch.ones_like(ranks.for_whole_batch(x)))
        return x * ranks.own(factors)


KNOWN = (SharedNorm, SharedDropout, nn.SyncBatchNorm)


def share_layers(network: nn.Module) -> None:
    """Let the layers of `network` see the batches of all ranks; its weights stay where they are.

    Raises:
        ValueError: it has a batch norm or dropout of a kind that is not known here.
    """
    for name, layer in network.named_modules():
        kind: Any = type(layer)
        if kind in NORMS:
            layer.__class__ = _shared(SharedNorm, kind)
        elif kind in DROPOUTS:
            layer.__class__ = _shared(SharedDropout, kind)
        elif isinstance(layer, REFUSED) and not isinstance(layer, KNOWN):
            raise ValueError(
                f"{name}, a {kind.__name__}, would see the images of one device, not those of the batch: set "
                "devices to 1"
            )


def unshare_layers(network: nn.Module) -> None:
    """Make the layers again what they were before `share_layers`."""
    for layer in network.modules():
        if isinstance(layer, SharedNorm | SharedDropout):
            layer.__class__ = type(layer).__bases__[1]


@cache
def _shared(shared: type, kind: type) -> Any:
    """The subclass of `kind`, which code that asks for `kind` still knows, that is `shared` too."""
    return type(f"Shared{kind.__name__}", (shared, kind), {})
