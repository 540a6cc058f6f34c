"""The hybrid white-box attack: the decoder's image, its pixels corrected against the feature (Eq. 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facecrafter.attacks.black_box import BlackBox
from facecrafter.attacks.descent import descend
from facecrafter.attacks.reconstruction import Attack, Progress, Reconstruction
from facecrafter.attacks.search import check_shape
from facecrafter.crafter.inversion import squared_distance
from facecrafter.nets.folding import fold_batchnorm
from facecrafter.nets.withheld import Fill


class Hybrid(Attack):
    """Minimises ‖F − Enc(x)‖² + tv·TV(x) per image over pixels x in [0, 1], starting at x = Dec(F).

    The minimiser is Adam, its steps clamped to [0, 1]. Nothing is random, so there is one restart: the best
    image of the path, the decoder's own included. The distance runs over the channels that were told, by what
    the decoder knows to be usual (`Fill`); where it knows nothing of that, everything counts as told.

    Args:
        encoder: images (N, 3, H, W) in [0, 1] -> features (N, C, h, w); used in eval mode.
        decoder: features -> images, the black-box attacker's; used in eval mode. Of several draws it takes
            the first.
        iterations: steps (paper: 150).
        learning_rate: of Adam, in units of the pixels' range (paper: 0.005).
        tv: weight of the total variation, a prior that pixels are like their neighbours.
    """

    VERSION = 2
    access = "white"
    describe = (
        "Knows the encoder: takes the decoder's image and corrects its pixels until their feature fits."
    )

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        iterations: int = 150,
        learning_rate: float = 0.005,
        tv: float = 0.0,
    ) -> None:
        if iterations < 1 or learning_rate <= 0 or tv < 0:
            raise ValueError(
                f"iterations={iterations} must be at least 1, learning_rate={learning_rate} positive and "
                f"tv={tv} not negative"
            )
        self.encoder = fold_batchnorm(encoder).to(memory_format=torch.channels_last)
        self.black_box = BlackBox(decoder)
        parts = self.black_box.decoder.modules()
        self.fill = next((part for part in parts if isinstance(part, Fill)), None)
        self.iterations = iterations
        self.learning_rate = learning_rate
        self.tv = tv

    def _reconstruct(
        self, features: Tensor, rows: Tensor, seed: int, progress: Progress | None
    ) -> Reconstruction:
        encoder = self.encoder.to(features.device)
        start = self.black_box._reconstruct(features, rows, seed, None).images[:, 0].to(features)
        with torch.no_grad():
            check_shape(features, encoder(start[:1]))
        told = self._told(features)

        def objective(images: Tensor) -> Tensor:
            distance = squared_distance(features, encoder(images) * told)
            return distance + self.tv * total_variation(images) if self.tv else distance

        found = descend(
            objective, start, self.iterations, self.learning_rate, lambda x: x.clamp(0, 1), progress
        )
        return Reconstruction(found.point[:, None].float(), found.loss[:, None].float())

    def _told(self, features: Tensor) -> Tensor:
        """(N, C, 1, 1): 1 where a channel of the features (N, C, h, w) was told, else 0."""
        if self.fill is None:
            return torch.ones_like(features[:, :, :1, :1])
        return self.fill.told(features).to(features.dtype)


def total_variation(images: Tensor) -> Tensor:
    """Sum of |differences| between neighbouring pixels, per image: (N, C, H, W) -> (N,).

    The anisotropic form of Rudin, Osher and Fatemi 1992.
    """
    vertical = images.diff(dim=2).abs().flatten(1).sum(dim=1)
    horizontal = images.diff(dim=3).abs().flatten(1).sum(dim=1)
    return vertical + horizontal
