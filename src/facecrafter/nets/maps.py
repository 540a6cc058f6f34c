"""Features that are vectors or tokens as the maps that attacks and defences read."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from facecrafter.nets.modes import evaluating
from facecrafter.nets.target import SplitNetwork

_SIDES = (32, 64, 112, 128, 224)  # that are tried for what a network takes


class ToMap(nn.Module):
    """Vectors (N, C) or patch tokens (N, h·w, C) as maps (N, C, h, w); maps stay as they are."""

    def forward(self, features: Tensor) -> Tensor:
        if features.ndim == 2:
            return features[:, :, None, None]
        if features.ndim == 3:
            side = round(features.shape[1] ** 0.5)
            return features.transpose(1, 2).reshape(len(features), -1, side, side)
        return features


class FromMap(nn.Module):
    """What `ToMap` made a map of, as it was: with `ndim` axes."""

    def __init__(self, ndim: int) -> None:
        super().__init__()
        self.ndim = ndim

    def forward(self, features: Tensor) -> Tensor:
        if self.ndim == 2:
            return features.flatten(1)
        return features.flatten(2).transpose(1, 2) if self.ndim == 3 else features


def with_maps(encoder: nn.Module, head: nn.Module) -> SplitNetwork:
    """An encoder and its head with maps in between, whatever features the two have.

    Raises:
        ValueError: no map can be made of them.
    """
    try:
        ndim = probed(encoder, "the encoder").ndim
    except NoSize:  # it takes images of another size, which whoever has them will try
        return SplitNetwork(encoder, head)
    if ndim == 4:
        return SplitNetwork(encoder, head)
    return SplitNetwork(nn.Sequential(encoder, ToMap()), reading_maps(head, ndim))


def reading_maps(head: nn.Module, ndim: int) -> nn.Sequential:
    """The head of features of `ndim` dimensions as one of maps, a chain whose parts keep their names.

    Attacks and defences name layers by them: the first part stays `0`, whatever comes before it.
    """
    # Not named_children: that leaves out a part which stands in the chain a second time.
    parts = dict(head._modules) if isinstance(head, nn.Sequential) else {"0": head}
    return nn.Sequential(OrderedDict(parts if ndim == 4 else {"from_map": FromMap(ndim), **parts}))


class NoSize(ValueError):
    """A network takes images of none of the sizes that are tried."""


@torch.no_grad()
def probed(network: nn.Module, name: str) -> Tensor:
    """What a network gives for two grey images of the first size that it takes.

    Raises:
        ValueError: it takes none, or gives what no map can be made of.
    """
    fault: Exception | None = None
    with evaluating(network):
        for side in _SIDES:
            try:
                found = network(torch.full((2, 3, side, side), 0.5))
            except Exception as error:  # a network may raise anything at a size that is not its own
                fault = error
                continue
            return _checked(found, name)
    raise NoSize(f"{name} takes two images of none of the sizes {_SIDES}: {fault}")


def _checked(found: Any, name: str) -> Tensor:
    if not isinstance(found, Tensor) or found.ndim not in (2, 3, 4):
        raise ValueError(f"{name} gives no tensor of vectors, tokens or maps: cut it behind another layer")
    if found.ndim == 3 and round(found.shape[1] ** 0.5) ** 2 != found.shape[1]:
        raise ValueError(
            f"{name} gives {found.shape[1]} tokens, which are no square map: some are not of patches; "
            "use one without (timm: arch_args: {class_token: false, global_pool: avg})"
        )
    return found
