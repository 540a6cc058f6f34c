"""What every attack returns, and the randomness it starts from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Progress(Protocol):
    """Called now and then with the steps done and the steps there are."""

    def __call__(self, done: int, total: int) -> None: ...


@dataclass(frozen=True)
class Reconstruction:
    """Images an attack made of N features in R restarts.

    Attributes:
        images: (N, R, 3, H, W) float32 in [0, 1].
        losses: (N, R) float32, the attack's own loss per restart; all it may choose by.
    """

    images: Tensor
    losses: Tensor

    def best(self) -> Tensor:
        """(N, 3, H, W): for each image, the restart with the attack's own lowest loss."""
        return self.images[torch.arange(len(self.images)), self.losses.argmin(dim=1)]


class Attack(Protocol):
    """Frozen networks and plain numbers in the constructor; what an attacker makes of features in
    `reconstruct`.

    ``access`` is ``white`` if the attacker can differentiate the encoder, else ``black``. The result for an
    image depends on its feature, its row and the generator's initial seed, never on the batch it is in.
    """

    access: str

    def reconstruct(
        self,
        features: Tensor,
        generator: torch.Generator,
        progress: Progress | None = None,
        rows: Tensor | None = None,
    ) -> Reconstruction: ...


def random_latents(rows: Tensor, restarts: int, latent_dim: int, seed: int) -> Tensor:
    """Standard normal starts (N, R, d), float64 on the CPU.

    The starts of an image depend on ``seed`` and its row alone, and restart r on no later restart: neither
    the batch an image is in nor the number of restarts changes what it starts from.
    """
    return torch.stack([_latents_of(row, restarts, latent_dim, seed) for row in rows.tolist()])


def _latents_of(row: int, restarts: int, latent_dim: int, seed: int) -> Tensor:
    # Neighbouring seeds give correlated streams in some generators, hashed ones do not.
    key = hashlib.sha256(f"{seed}/{row}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(key[:7], "little"))
    starts = [torch.randn(latent_dim, generator=generator, dtype=torch.float64) for _ in range(restarts)]
    return torch.stack(starts)
