"""The amortized white-box attack: the search for a latent starts where a network expects it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facecrafter.attacks.search import place_model
from facecrafter.attacks.white_box import WhiteBox
from facecrafter.nets.folding import fold_batchnorm
from facecrafter.precision import Precision


class AmortizedWhiteBox(WhiteBox):
    """`WhiteBox` whose first restart starts at the amortizer's latent (Crafter, section VI-E).

    Args:
        encoder: images (N, 3, H, W) in [0, 1] -> features (N, C, h, w); used in eval mode.
        prior: the generator G, latents (N, d) -> images in [0, 1].
        amortizer: features -> latents, trained for this encoder and prior; used in eval mode.
        iterations: linearisations per restart.
        restarts: starts per image: the amortizer's latent, then those of `WhiteBox` but its first.
        steps: conjugate-gradient steps per linearisation.
        precision: of the Jacobian products; see `WhiteBox`.
    """

    VERSION = 2
    describe = (
        "Knows the encoder and has a generator of faces: searches from the latent that a network expects."
    )

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
        super().__init__(encoder, prior, iterations, restarts, steps, precision)
        self.amortizer = fold_batchnorm(amortizer).to(memory_format=torch.channels_last)

    @torch.no_grad()
    def starts(self, features: Tensor, rows: Tensor, seed: int) -> Tensor:
        """Latents (N, R, d), the amortizer's first.

        Raises:
            ValueError: the features are not of the encoder's shape, or the latents not of the prior's size.
        """
        place_model(self.model, features)  # sees to the shape before the amortizer is asked
        guess: Tensor = self.amortizer.to(features.device)(features)
        if guess.shape[1:] != (self.model.latent_dim,):
            raise ValueError(
                f"the amortizer's latents have {tuple(guess.shape[1:])} numbers, but the prior takes "
                f"{self.model.latent_dim}; use the amortizer trained for this prior"
            )
        drawn = super().starts(features, rows, seed)[:, 1:].to(features)
        return torch.cat([guess[:, None], drawn], dim=1)
