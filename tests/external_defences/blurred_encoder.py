"""A defence outside the package that replaces the encoder: attackers differentiate and decode the new one."""

import torch
from torch import Tensor, nn

from lightning_modules.defences.base import Defence


class BlurredEncoder(Defence):
    """Blurs the image before the target's encoder, as part of the encoder."""

    def __init__(self, target: str, size: int = 3, seed: int = 0, query: int = 0) -> None:
        super().__init__(target, seed, query)
        self.encoder = nn.Sequential(nn.AvgPool2d(size, stride=1, padding=size // 2), self.encoder)

    def protect(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return self.encoder(images)
