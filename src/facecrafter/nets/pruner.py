"""Disco's pruner: it switches off the channels of a feature that give an image away."""

from __future__ import annotations

from torch import Tensor, nn

from facecrafter.nets.tail import resnet18_tail

TEMPERATURE = 1 / 30


class Pruner(nn.Module):
    """Features (N, C, h, w) -> the same with about a share `ratio` of their channels scaled towards zero.

    A ResNet18 scores every channel of an image; its gate is sigmoid((s − s₍ₖ₎) / T), where s₍ₖ₎ is the score
    at place k = ⌊ratio·C⌋ (counted from 0) in ascending order (Singh et al., CVPR 2021). The gates
    are soft, so the scores learn; the channel at the threshold itself passes by half.

    Args:
        channels: C.
        ratio: r, the share of channels to prune, in [0, 1).
    """

    def __init__(self, channels: int, ratio: float) -> None:
        super().__init__()
        if not 0 <= ratio < 1:
            raise ValueError(f"the pruning ratio must be at least 0 and below 1, got {ratio}")
        self.scores = resnet18_tail(channels, channels)
        self.threshold = int(ratio * channels)

    def gates(self, features: Tensor) -> Tensor:
        """Features (N, C, h, w) -> gates (N, C, 1, 1) in (0, 1)."""
        return self.open(self.scores(features))

    def open(self, scores: Tensor) -> Tensor:
        """Scores (N, C) -> gates (N, C, 1, 1)."""
        threshold = scores.sort(dim=1).values[:, self.threshold, None]
        return ((scores - threshold) / TEMPERATURE).sigmoid()[:, :, None, None]

    def forward(self, features: Tensor) -> Tensor:
        return features * self.gates(features)
