"""A perceptual distance for whoever has no LPIPS weights."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class FeatureDistance(nn.Module):
    """How different two images look to a network that was trained here: (N, 3, H, W) twice -> (N,), 0 to 4.

    The form is LPIPS's (Zhang et al. 2018) on one layer, without its calibration: features scaled to length
    one over the channels, their squared distance averaged over positions. It is not LPIPS, and its values do
    not compare with LPIPS's.

    Args:
        encoder: images in [0, 1] -> features (N, C, h, w); frozen.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor, references: Tensor) -> Tensor:
        directions = [F.normalize(self.encoder(batch), dim=1) for batch in (images, references)]
        distances: Tensor = (directions[0] - directions[1]).square().sum(dim=1).mean(dim=(1, 2))
        return distances
