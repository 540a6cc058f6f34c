"""The public layers behind the split: what the cloud's head makes of a feature on its way to the answer."""

from __future__ import annotations

from torch import nn

from facecrafter.nets.folding import fold_batchnorm
from facecrafter.nets.through_head import FEATURE, check_layer, layer_ends


def public_layer(head: nn.Module, name: str) -> nn.Module:
    """h, features (N, C, h, w) -> what the layer `name` of the head holds (N, ...); frozen.

    Args:
        head: f, features -> logits (N, outputs).
        name: see `facecrafter.nets.through_head.layer_ends`; not `feature`, which lies before the head.

    Raises:
        ValueError: the head has no such layer.
    """
    ends = {layer: end for layer, end in layer_ends(head).items() if layer != FEATURE and end}
    check_layer(name, ends)
    # Cut first: a batch norm behind the layer is not a part of it.
    return fold_batchnorm(head[: ends[name]] if isinstance(head, nn.Sequential) else head)
