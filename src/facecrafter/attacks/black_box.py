"""The black-box attack: a decoder trained on public pairs of feature and image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facecrafter.attacks.reconstruction import Attack, Progress, Reconstruction
from facecrafter.nets.folding import fold_batchnorm


class BlackBox(Attack):
    """Shows the decoder's image of each feature, or its draws of it: a restart each.

    Their losses are zero: whoever cannot run the encoder cannot compare an image with the feature.

    Args:
        decoder: features (N, C, h, w) -> images (N, 3, H, W) in [0, 1], or R draws of each (N, R, 3, H, W);
            used in eval mode.
    """

    VERSION = 1  # raise it when the numbers change
    access = "black"
    describe = (
        "Cannot see into the encoder: a decoder, trained on public pairs of feature and image, shows "
        "the face."
    )

    def __init__(self, decoder: nn.Module) -> None:
        self.decoder = fold_batchnorm(decoder)

    def _reconstruct(
        self, features: Tensor, rows: Tensor, seed: int, progress: Progress | None
    ) -> Reconstruction:
        decoder = self.decoder.to(features.device)
        _check_readable(decoder, features[:1])
        with torch.no_grad():
            images = decoder(features).float()
        if progress:
            progress(1, 1)
        draws = images if images.ndim == 5 else images[:, None]
        return Reconstruction(draws, draws.new_zeros(draws.shape[:2]))


@torch.no_grad()
def _check_readable(decoder: nn.Module, feature: Tensor) -> None:
    try:
        decoder(feature)
    except RuntimeError as error:
        raise ValueError(
            f"the decoder cannot read features of {tuple(feature.shape[1:])} per image ({error}); "
            "use the decoder trained on this encoder's features"
        ) from error
