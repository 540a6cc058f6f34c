"""What goes wrong only when it is used: a preflight has to find it before hours are spent."""

from __future__ import annotations

import torch
from torch import Tensor

from facecrafter.attacks import BlackBox, Progress, Reconstruction
from lightning_modules.defences.base import Defence


class InPlace(Defence):
    """Overwrites what it still needs, as layers of mobile networks do."""

    def __init__(self, target: str, sigma: float = 1.0, seed: int = 0, query: int = 0) -> None:
        super().__init__(target, seed, query)
        self.sigma = sigma

    def protect(self, images: Tensor, rng: torch.Generator) -> Tensor:
        with torch.enable_grad():
            features = self.encoder(images).requires_grad_()
            root = (features.abs() + self.sigma).sqrt()
            loss = root.sum()
            root.add_(1)
            loss.backward()
        return features.detach()


class Halved(Defence):
    """Its features are not those of its encoder."""

    def protect(self, images: Tensor, rng: torch.Generator) -> Tensor:
        features: Tensor = self.encoder(images)
        return features[:, : features.shape[1] // 2]


class Loud(BlackBox):
    """Returns images out of range."""

    def _reconstruct(
        self, features: Tensor, rows: Tensor, seed: int, progress: Progress | None
    ) -> Reconstruction:
        found = super()._reconstruct(features, rows, seed, progress)
        return Reconstruction(300 * found.images, found.losses)
