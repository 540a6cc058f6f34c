"""What f makes of a feature: whoever knows the cloud's network may look behind the split too.

Whatever is done to a feature, a useful one still drives f to the same activations. What f filters out, noise
and crafting alike, no longer stands between the attacker and the face.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from facecrafter.nets.maps import FromMap

FEATURE, HIDDEN, LOGITS = "feature", "hidden", "logits"


class ThroughHead(nn.Module):
    """h: features (N, C, h, w) -> what f makes of them in some of its layers, as one map per image.

    One layer that is a map stays one. A vector, or several layers one behind the other, is (N, D, 1, 1). A
    layer of weight w counts w times in a squared distance. `nn.Sequential(encoder, h)` is an encoder, whose
    features are h(F): every attack that inverts an encoder inverts h ∘ Enc as well.

    Args:
        head: f, features -> logits.
        layers: weights, above 0, by the names of layers, see `layer_ends`.

    Attributes:
        names: the layers, in the order of f.

    Raises:
        ValueError: there is no such layer, or a weight is not positive.
    """

    def __init__(self, head: nn.Module, layers: Mapping[str, float]) -> None:
        super().__init__()
        if not layers or any(not 0 < weight < math.inf for weight in layers.values()):
            raise ValueError(f"layers={dict(layers)} must name at least one, each with a weight above 0")
        chain = list(head) if isinstance(head, nn.Sequential) else [head]
        ends = layer_ends(head)
        for name in layers:
            check_layer(name, ends)
        self.names = sorted(layers, key=ends.__getitem__)
        cuts = [0, *(ends[name] for name in self.names)]
        self.parts = nn.ModuleList(nn.Sequential(*chain[begin:end]) for begin, end in pairwise(cuts))
        self.scales = [math.sqrt(layers[name]) for name in self.names]

    def forward(self, features: Tensor) -> Tensor:
        found = []
        for part, scale in zip(self.parts, self.scales, strict=True):
            features = part(features)
            found.append(scale * features)
        return self.joined(found)

    def joined(self, found: list[Tensor]) -> Tensor:
        """The layers' activations as one map."""
        if len(found) == 1 and found[0].ndim == 4:
            return found[0]
        return torch.cat([layer.flatten(1) for layer in found], dim=1)[:, :, None, None]

    def apart(self, joined: Tensor, like: list[Tensor]) -> list[Tensor]:
        """`joined` undone; each layer has the shape of its tensor in `like`."""
        sizes = [layer[0].numel() for layer in like]
        parts = torch.split(joined.flatten(1), sizes, dim=1)
        return [part.reshape(layer.shape) for part, layer in zip(parts, like, strict=True)]


def layer_ends(head: nn.Module) -> dict[str, int]:
    """By the name of each layer of f, how many parts of the chain that f is come before its end.

    Attackers and defences name layers alike: `feature` (F itself), `logits` (what f answers), `hidden` (what
    its last linear layer reads), or the name of a layer in the chain, such as `0`, the first of all.
    """
    named = dict(head._modules) if isinstance(head, nn.Sequential) else {}
    chain = list(named.values()) or [head]
    # What only gives a feature its own shape back is no layer.
    ends = {name: end for end, (name, part) in enumerate(named.items(), 1) if not isinstance(part, FromMap)}
    linear = [place for place, part in enumerate(chain) if isinstance(part, nn.Linear)]
    # A part behind the last linear one that has such layers inside: the last of all is there.
    inside = linear and any(
        isinstance(layer, nn.Linear) for part in chain[linear[-1] + 1 :] for layer in part.modules()
    )
    hidden = {HIDDEN: linear[-1]} if linear and not inside else {}
    return {FEATURE: 0} | ends | hidden | {LOGITS: len(chain)}


def check_layer(name: str, ends: Mapping[str, int]) -> None:
    """Raises ValueError if f, whose layers end there, has none of this name."""
    if name not in ends:
        raise ValueError(f"f has no layer {name!r}; it has {', '.join(ends)}")
