"""Train and eval mode, which a network's layers need not share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """The network in eval mode; afterwards each layer is in its own again.

    `network.train(before)` would hand the outermost layer's mode to all of them: frozen batch norms inside
    of a network that trains would begin to follow its batches.
    """
    modes = [(layer, layer.training) for layer in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training
