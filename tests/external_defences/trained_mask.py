"""A defence outside the package that trains: it learns how much of each channel the task needs."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_modules.defences.base import Defence


class TrainedMask(Defence):
    """Multiplies each channel by a learned gate and leaves encoder and head as they are.

    The white-box attacker keeps differentiating the target's encoder.
    """

    def __init__(
        self, target: str, channels: int = 64, weight: float = 0.1, seed: int = 0, query: int = 0
    ) -> None:
        super().__init__(target, seed, query)
        self.encoder.requires_grad_(False)
        self.head.requires_grad_(False)
        self.gate = nn.Parameter(torch.full((channels, 1, 1), 2.0))
        self.weight = weight

    def masked(self, images: Tensor) -> Tensor:
        return self.encoder(images) * self.gate.sigmoid()

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        logits = self.head(self.masked(batch["image"]))
        task = F.binary_cross_entropy_with_logits(logits, batch["attributes"])
        return task + self.weight * self.gate.sigmoid().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam([self.gate], lr=0.01)

    def protect(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return self.masked(images)
