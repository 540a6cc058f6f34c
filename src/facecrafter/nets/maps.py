"""Features as attacks and defences read them: maps, whose values are about 1."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from facecrafter.nets.modes import evaluating
from facecrafter.nets.target import SplitNetwork

USUAL = (0.25, 4.0)
"""Root mean squares of features that are sent as they are."""

_SIDES = (32, 64, 112, 128, 224)  # that are tried for what a network takes


class _InUnits(nn.Module):
    """Knows the unit that features are sent in: a power of two, so that nothing is rounded; None is 1.

    It belongs to the weights, but those from before a unit was needed are without.
    """

    OPTIONAL = ("unit",)
    unit: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("unit", None)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        saved = state_dict.get(f"{prefix}unit")
        self.unit = None if saved is None else saved.clone()
        super()._load_from_state_dict(state_dict, prefix, *args)


class ToMap(_InUnits):
    """Vectors (N, C) or patch tokens (N, h·w, C) as maps (N, C, h, w), in their unit; maps stay maps."""

    def forward(self, features: Tensor) -> Tensor:
        if features.ndim == 2:
            features = features[:, :, None, None]
        elif features.ndim == 3:
            side = round(features.shape[1] ** 0.5)
            features = features.transpose(1, 2).reshape(len(features), -1, side, side)
        return features if self.unit is None else features / self.unit


class FromMap(_InUnits):
    """What `ToMap` made a map of, as it was: with `ndim` axes."""

    def __init__(self, ndim: int) -> None:
        super().__init__()
        self.ndim = ndim

    def forward(self, features: Tensor) -> Tensor:
        if self.unit is not None:
            features = features * self.unit
        if self.ndim == 2:
            return features.flatten(1)
        return features.flatten(2).transpose(1, 2) if self.ndim == 3 else features


def choose_unit(split: SplitNetwork, images: Tensor) -> float:
    """Has features sent in the unit nearest to their root mean square on `images`, if that is far from 1.

    Searches, decoders, crafting and their settings are made for values of about 1: of an encoder that ends
    in an l2 norm they would find nothing, and it would pass for safe. The head undoes it, to the bit.

    Returns:
        The unit: 1 where the root mean square lies within `USUAL`.
    """
    ends = [layer for half in split for layer in half.modules() if isinstance(layer, ToMap | FromMap)]
    for layer in ends:
        layer.unit = None
    with torch.no_grad(), evaluating(split.encoder):
        features = split.encoder(images)
    size = float(features.double().square().mean().sqrt())
    if not 0 < size < math.inf or USUAL[0] <= size <= USUAL[1]:
        return 1.0
    unit = 2.0 ** round(math.log2(size))
    for layer in ends:
        layer.unit = features.new_tensor(unit)
    return unit


def with_maps(encoder: nn.Module, head: nn.Module) -> SplitNetwork:
    """An encoder and its head with maps in between, whatever features the two have.

    Raises:
        ValueError: no map can be made of them.
    """
    try:
        ndim = probed(encoder, "the encoder").ndim
    except NoSize:  # it takes images of another size, which whoever has them will try
        return SplitNetwork(encoder, head)
    mapped = nn.Sequential(OrderedDict({**_chain(encoder), "to_map": ToMap()}))
    return SplitNetwork(mapped, reading_maps(head, ndim))


def reading_maps(head: nn.Module, ndim: int) -> nn.Sequential:
    """The head of features of `ndim` dimensions as one of maps, a chain whose parts keep their names.

    Attacks and defences name layers by them: the first part stays `0`, whatever comes before it.
    """
    return nn.Sequential(OrderedDict({"from_map": FromMap(ndim), **_chain(head)}))


def _chain(network: nn.Module) -> dict[str, nn.Module]:
    """The parts of a network that is nothing but their chain, by their names; any other is one part."""
    hooks = network._forward_hooks or network._forward_pre_hooks
    if type(network).forward is not nn.Sequential.forward or hooks:
        return {"0": network}
    # Not named_children: that leaves out a part which stands in the chain a second time.
    return {name: part for name, part in network._modules.items() if part is not None}


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
