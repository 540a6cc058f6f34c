"""Target networks whose features are vectors or patch tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from artifact import artifact
from torch import Tensor, nn

from lightning_modules import TargetNetwork

SIDE, LATENT, OUTPUTS, CHANNELS = 32, 6, 3, 6


class Vectors(nn.Sequential):
    """Images (N, 3, 32, 32) -> features (N, 6)."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 2, 8, stride=8), nn.SiLU(), nn.Flatten(), nn.Linear(32, CHANNELS))


class Tokens(nn.Module):
    """Images (N, 3, 32, 32) -> features (N, 16, 6): an embedding of each patch, normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.norm = nn.Conv2d(3, CHANNELS, 8, stride=8), nn.LayerNorm(CHANNELS)

    def forward(self, images: Tensor) -> Tensor:
        normed: Tensor = self.norm(self.patches(images).flatten(2).transpose(1, 2))
        return normed


class Pooled(nn.Module):
    """Tokens (N, 16, 6) -> (N, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(CHANNELS, OUTPUTS)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.linear(tokens.mean(dim=1))
        return logits


class Head(nn.Sequential):
    """Vectors (N, 6) -> (N, 3)."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(CHANNELS, 4), nn.ReLU(), nn.Linear(4, OUTPUTS))


class ClassToken(Tokens):
    """Images -> features (N, 17, 6): beside those of the patches a token that is of none."""

    def forward(self, images: Tensor) -> Tensor:
        tokens = super().forward(images)
        return torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)


class Several(Tokens):
    """Images -> two tensors, as a network with a skip connection across the cut has."""

    def forward(self, images: Tensor) -> Any:
        return super().forward(images), images


ENCODERS = {"vectors": (Vectors, Head), "tokens": (Tokens, Pooled)}


def target_of(kind: str) -> TargetNetwork:
    """A target network with such an encoder of the user's own."""
    torch.manual_seed(0)
    encoder, head = ENCODERS[kind]
    return TargetNetwork(OUTPUTS, encoder=encoder(), head=head())


def encoder_of(kind: str) -> nn.Module:
    """Its encoder, as attackers have it."""
    return target_of(kind).encoder.eval().requires_grad_(False)


def target_artifact(kind: str, folder: Path) -> str:
    """The network as an artifact."""
    encoder, head = ENCODERS[kind]
    own = {
        name: {"class_path": f"{part.__module__}.{part.__name__}"}
        for name, part in {"encoder": encoder, "head": head}.items()
    }
    return artifact(folder / "target", target_of(kind), n_outputs=OUTPUTS, **own)
