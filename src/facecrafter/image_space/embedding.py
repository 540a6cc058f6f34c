"""What an image-space defence misleads."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

Embedding = Callable[[Tensor], Tensor]
"""Images (N, 3, H, W) in [0, 1] -> embeddings (N, E); frozen, in eval mode, and resizing images itself."""


def flat_features(encoder: nn.Module) -> Embedding:
    """The target's encoder itself as the network to mislead: images -> its features as vectors (N, C·h·w)."""
    return lambda images: encoder(images).flatten(1)
