"""What a crafted feature pays for: its distance from Enc(x), or that of what the cloud makes of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from facecrafter.crafter.layers import public_layer
from facecrafter.nets.through_head import HIDDEN


class Cost(NamedTuple):
    """A loss of each image (N,), and its gradient in what it is a loss of (N, ...)."""

    loss: Tensor
    gradient: Tensor


CostOfFeatures = Callable[[Tensor], Cost]


class Utility(ABC):
    """How L_u is measured."""

    @abstractmethod
    def __call__(self, raw: Tensor, head: nn.Module | None) -> CostOfFeatures:
        """L_u as a function of F (N, C, h, w), for the raw features Enc(x) and the public head f."""


class FeatureDistance(Utility):
    """L_u = ‖F − Enc(x)‖² / n per image, n elements of a feature: every direction costs alike (Eq. 6)."""

    def __call__(self, raw: Tensor, head: nn.Module | None) -> CostOfFeatures:
        def cost(features: Tensor) -> Cost:
            # In closed form. The unsquared norm of Eq. 6 has no gradient at F = Enc(x), where a batch starts.
            deviation = features - raw
            return Cost(deviation.square().flatten(1).mean(dim=1), 2 * deviation / deviation[0].numel())

        return cost


class PublicLayers(Utility):
    """L_u = w₀·‖F − Enc(x)‖²/n + Σ_h w_h·‖h(F) − h(Enc(x))‖²/n_h per image, over layers h of the public head.

    A move that the head does not see costs nothing, so that crafting pays for what the cloud reads. The later
    the layer, the more may be crafted away, and the fewer other tasks the feature is good for.

    Args:
        layers: w_h by the layer's name, see `facecrafter.nets.through_head.layer_ends`; n_h counts its
            elements.
        feature: w₀, of the distance of the feature itself.

    Raises:
        ValueError: a weight is negative, or none is positive.
    """

    VERSION = 2

    def __init__(self, layers: Mapping[str, float] | None = None, feature: float = 0.0) -> None:
        self.layers = {HIDDEN: 1.0} if layers is None else dict(layers)
        self.feature = feature
        weights = [feature, *self.layers.values()]
        if min(weights) < 0 or max(weights) == 0:
            raise ValueError(f"weights must not be negative, and one must be positive, got {weights}")

    def __call__(self, raw: Tensor, head: nn.Module | None) -> CostOfFeatures:
        if head is None:
            raise ValueError("PublicLayers needs the public head f behind the split: pass it as `head`")
        # What weighs nothing is not computed either.
        named = [(weight, public_layer(head, name)) for name, weight in self.layers.items() if weight]
        read = [(weight, layer.to(raw.device)) for weight, layer in named]
        with torch.no_grad():
            wanted = [layer(raw) for _, layer in read]
        distance = FeatureDistance()(raw, None)

        def cost(features: Tensor) -> Cost:
            loss, gradient = (self.feature * part for part in distance(features))
            point = features.detach().requires_grad_()
            for (weight, layer), target in zip(read, wanted, strict=True):
                with torch.enable_grad():
                    behind = weight * (layer(point) - target).square().flatten(1).mean(dim=1)
                    (along,) = torch.autograd.grad(behind.sum(), point)
                loss, gradient = loss + behind.detach(), gradient + along
            return Cost(loss, gradient)

        return cost
