"""A defence outside the package: it adds noise to the features."""

import torch
from torch import Tensor

from lightning_modules.defences.base import Defence


class GaussianNoise(Defence):
    """Enc(x) + sigma * noise."""

    def __init__(self, target: str, sigma: float = 0.1, seed: int = 0, query: int = 0) -> None:
        super().__init__(target, seed, query)
        self.sigma = sigma

    def protect(self, images: Tensor, rng: torch.Generator) -> Tensor:
        features = self.encoder(images)
        noise = torch.randn(features.shape, generator=rng).to(features)
        return features + self.sigma * noise
