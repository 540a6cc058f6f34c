"""The amortized white-box attack: the search for a latent starts where a network expects it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facecrafter.attacks.reconstruction import Progress, Reconstruction, random_latents
from facecrafter.attacks.search import place_model, restarts_apart, search_latents
from facecrafter.inversion import AttackerModel
from facecrafter.nets.folding import fold_batchnorm
from facecrafter.precision import Precision, fast_dtype


class AmortizedWhiteBox:
    """`WhiteBox` whose first restart starts at the amortizer's latent (Crafter, section VI-E).

    Args:
        encoder: images (N, 3, H, W) in [0, 1] -> features (N, C, h, w); used in eval mode.
        prior: the generator G, latents (N, d) -> images in [0, 1].
        amortizer: features -> latents, trained for this encoder and prior; used in eval mode.
        iterations: linearisations per restart.
        restarts: starts per image: the amortizer's latent, then the first starts of `WhiteBox`.
        steps: conjugate-gradient steps per linearisation.
        precision: of the Jacobian products; see `WhiteBox`.
    """

    VERSION = 1
    access = "white"

    def __init__(
        self,
        encoder: nn.Module,
        prior: nn.Module,
        amortizer: nn.Module,
        iterations: int = 40,
        restarts: int = 1,
        steps: int = 12,
        precision: Precision = "auto",
    ) -> None:
        if iterations < 1 or restarts < 1:
            raise ValueError(f"iterations={iterations} and restarts={restarts} must both be at least 1")
        self.iterations = iterations
        self.restarts = restarts
        self.steps = steps
        self.model = AttackerModel(encoder, prior, fast_dtype(precision, next(encoder.parameters()).device))
        self.amortizer = fold_batchnorm(amortizer).to(memory_format=torch.channels_last)

    def reconstruct(
        self,
        features: Tensor,
        generator: torch.Generator,
        progress: Progress | None = None,
        rows: Tensor | None = None,
    ) -> Reconstruction:
        """Inverts N features; see `WhiteBox.reconstruct`.

        Raises:
            ValueError: the features are not of the encoder's shape, or the latents not of the prior's size.
        """
        place_model(self.model, features)
        rows = torch.arange(len(features)) if rows is None else rows
        starts = self._starts(features, rows, generator.initial_seed())
        found = search_latents(self.model, features, starts, self.iterations, self.steps, progress)
        return restarts_apart(self.model(found.z).images, found.loss, self.restarts)

    @torch.no_grad()
    def _starts(self, features: Tensor, rows: Tensor, seed: int) -> Tensor:
        """(N, R, d), the amortizer's latents first."""
        guess: Tensor = self.amortizer.to(features.device)(features)
        drawn = random_latents(rows, self.restarts, self.model.latent_dim, seed)[:, 1:].to(features)
        if guess.shape[1:] != (self.model.latent_dim,):
            raise ValueError(
                f"the amortizer's latents have {tuple(guess.shape[1:])} numbers, but the prior takes "
                f"{self.model.latent_dim}; use the amortizer trained for this prior"
            )
        return torch.cat([guess[:, None], drawn], dim=1)
