"""Channels that the sender of a feature withheld: told apart from evidence, and filled."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

RARE = 1 / 20
"""A channel that is zero throughout in a smaller share of public images is hardly so of its own accord."""


def absent(features: Tensor) -> Tensor:
    """Which channels of features (N, C, h, w) are exactly zero at every position: (N, C) bool."""
    return (features == 0).flatten(2).all(dim=2)


class Fill(nn.Module):
    """Features (N, C, h, w) -> the same, with the public mean in place of channels that were withheld.

    A defence that withholds a channel sends zeros, which say nothing of the face; who takes them for the
    channel's values is misled, and the defence looks safer than it is. A channel counts as withheld where it
    is zero at every position, though it is so in fewer than one public image in 20. One that the encoder
    itself switches off, or a unit behind a ReLU, is zero more often: its zeros stay what they are.

    Until `learn` was called nothing counts as withheld.

    Args:
        shape: (C, h, w) of a feature.

    Attributes:
        mean: of each element (C, h, w), over the public images in which its channel is not zero throughout.
        absence: share of the public images in which a channel is zero throughout (C,), 1 where nothing is
            known.
    """

    mean: Tensor
    absence: Tensor

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("absence", torch.ones(shape[0]))

    @property
    def has_learnt(self) -> bool:
        """Whether it knows of a channel that is not always zero."""
        return bool((self.absence < 1).any())

    def learn(self, parts: Iterable[Tensor]) -> None:
        """Take what is usual from raw features of public images, a few (N, C, h, w) at a time."""
        total, present = (torch.zeros_like(like, dtype=torch.float64) for like in (self.mean, self.absence))
        count = 0
        for features in parts:
            total += features.double().sum(dim=0)
            present += (~absent(features)).double().sum(dim=0)
            count += len(features)
        self.mean.copy_(total / present.clamp_min(1)[:, None, None])
        self.absence.copy_(1 - present / count)

    def told(self, features: Tensor) -> Tensor:
        """Which channels of features (N, C, h, w) were not withheld: (N, C, 1, 1) bool."""
        return ~(absent(features) & (self.absence < RARE))[:, :, None, None]

    def forward(self, features: Tensor) -> Tensor:
        # Expanded, not broadcast: features of another shape are refused, as the layers behind this would.
        mean = self.mean.to(features.dtype).expand_as(features)
        return torch.where(self.told(features), features, mean)
