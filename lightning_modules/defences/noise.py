"""The two defences that everybody asks about first: additive noise, and channels left out."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_modules.defences.base import Defence


class GaussianNoise(Defence):
    """Enc(x) + σ·s(x)·ε with ε ~ N(0, I), where s(x) is the standard deviation of the n values of Enc(x).

    Relative to the feature's own scale one σ means the same for every encoder, and no image's noise depends
    on the images beside it.

    Args:
        target: artifact folder of the target network.
        sigma: σ; at 1 the noise is as strong as the feature varies.
        seed, query: see Defence.
    """

    randomised = True

    def __init__(self, target: str, sigma: float = 1.0, seed: int = 0, query: int = 0) -> None:
        super().__init__(target, seed, query)
        if sigma < 0:
            raise ValueError(f"sigma must not be negative, got {sigma}")
        self.sigma = sigma

    def protect(self, images: Tensor, rng: torch.Generator) -> Tensor:
        features = self.encoder(images)
        scale = features.std(dim=(1, 2, 3), correction=0, keepdim=True)
        noise = torch.randn(features.shape, generator=rng).to(features)
        return features + self.sigma * scale * noise


class ChannelDropout(Defence):
    """Zeroes `share` of the channels of Enc(x), others for every image; the rest stays as it is.

    Args:
        target: artifact folder of the target network.
        share: part of the C channels, rounded to a whole number of them.
        seed, query: see Defence.
    """

    randomised = True

    def __init__(self, target: str, share: float = 0.5, seed: int = 0, query: int = 0) -> None:
        super().__init__(target, seed, query)
        if not 0 <= share <= 1:
            raise ValueError(f"share must lie between 0 and 1, got {share}")
        self.share = share

    def protect(self, images: Tensor, rng: torch.Generator) -> Tensor:
        features = self.encoder(images)
        count, channels = features.shape[:2]
        order = torch.rand(count, channels, generator=rng).argsort(dim=1)
        dropped = order[:, : round(self.share * channels)].to(features.device)
        mask = torch.ones_like(features[:, :, :1, :1]).flatten(1).scatter(1, dropped, 0.0)
        return features * mask[:, :, None, None]
