"""The public layers behind the split: what the cloud's head makes of a feature on its way to the answer."""

from __future__ import annotations

from torch import nn

from facecrafter.nets.folding import fold_batchnorm

LOGITS, HIDDEN = "logits", "hidden"


def public_layer(head: nn.Module, name: str) -> nn.Module:
    """h, features (N, C, h, w) -> what the layer `name` of the head holds (N, ...); frozen.

    Args:
        head: f, features -> logits (N, outputs).
        name: `logits`, the answer itself; `hidden`, the input of the last linear map; or a number of parts,
            such as `1`: what leaves the first so many parts of the head, nearer to the split. Attackers'
            `layers` name that by its last part, `0`; see facecrafter.nets.through_head.

    Raises:
        ValueError: the head is no chain of parts, or has no such layer.
    """
    frozen = fold_batchnorm(head)
    if name == LOGITS:
        return frozen
    if not isinstance(frozen, nn.Sequential):
        raise ValueError(
            f"{type(head).__name__} is no nn.Sequential: of its layers only `{LOGITS}` has a name"
        )
    parts = list(frozen)
    if name == HIDDEN:
        linear = [place for place, part in enumerate(parts) if isinstance(part, nn.Linear)]
        if not linear or linear[-1] == 0:
            raise ValueError(f"the head has no layer `{HIDDEN}`: nothing comes before a last linear map")
        return nn.Sequential(*parts[: linear[-1]])
    if not name.isdecimal() or not 1 <= int(name) <= len(parts):
        raise ValueError(
            f"the head has no layer {name!r}: name `{LOGITS}`, `{HIDDEN}` or a number from 1 to {len(parts)}"
        )
    return nn.Sequential(*parts[: int(name)])
