"""What many tests of the method draw from and differentiate."""

from __future__ import annotations

import torch
from pytorch_lightning import LightningModule
from torch import nn

from facecrafter.crafter.inversion import AttackerModel
from facecrafter.nets.generator import Generator1
from facecrafter.nets.target import resnet18


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_model() -> AttackerModel:
    """φ for 32 x 32 pixels with untrained networks: 64 x 8 x 8 features of 8 latents."""
    torch.manual_seed(0)
    return AttackerModel(resnet18(3).encoder.eval(), Generator1(8, 32, width=4).eval())


class Encoding(LightningModule):
    """Stands for a target network: images (N, 3, H, W) -> features (N, 12, H/2, W/2)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 12, 2, stride=2))
