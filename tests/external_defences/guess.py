"""An attack and a judge that need no training, for studies that are about something else."""

from __future__ import annotations

import torch
from torch import Tensor

from facecrafter.attacks import Attack, Progress, Reconstruction
from facecrafter.randomness import seeded
from lightning_modules import IdentityOracle


class Guess(Attack):
    """Shows noise of 32 x 32 pixels, whatever the feature."""

    access = "black"
    describe = "Has nothing: guesses."

    def _reconstruct(
        self, features: Tensor, rows: Tensor, seed: int, progress: Progress | None
    ) -> Reconstruction:
        images = [torch.rand(3, 32, 32, generator=seeded(seed, row)) for row in rows.tolist()]
        return Reconstruction(torch.stack(images)[:, None], torch.zeros(len(rows), 1))


class Pixels(IdentityOracle):
    """Embeds an image as its pixels, and knows people by one photograph of each."""

    def embed(self, images: Tensor) -> Tensor:
        return images.flatten(1) - 0.5

    def enrol(self, embeddings: Tensor, identities: Tensor) -> None:
        people = range(int(identities.max()) + 1)
        self.known = torch.stack([embeddings[identities == person][0] for person in people])

    def scores(self, embeddings: Tensor) -> Tensor:
        return embeddings @ self.known.T
