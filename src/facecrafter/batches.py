"""Networks and measures applied to many images, a few at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

BATCH = 16
"""Images at a time: what a layer makes of more leaves the processor's cache, and all takes twice as long."""

Images = Callable[[Tensor], Tensor]
"""Positions (n,) -> images (n, 3, H, W) in [0, 1]."""


@torch.no_grad()
def in_batches(function: Callable[..., Tensor], *tensors: Tensor, device: torch.device) -> Tensor:
    """``function`` of the tensors' slices of a few images, concatenated on the processor.

    The function is called with tensors on ``device``, where its networks must be too. A GPU computes in full
    float32: a structural similarity is a small difference of large numbers.
    """
    slices = zip(*(torch.split(tensor, BATCH) for tensor in tensors), strict=True)
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        return torch.cat([function(*(tensor.to(device) for tensor in part)).cpu() for part in slices])


def of_photographs(
    function: Callable[[Tensor], Tensor], images: Images, n: int, device: torch.device
) -> Tensor:
    """``function`` of n photographs that are read a few at a time, see `in_batches`."""
    parts = torch.split(torch.arange(n), BATCH)
    return torch.cat([in_batches(function, images(positions), device=device) for positions in parts])
