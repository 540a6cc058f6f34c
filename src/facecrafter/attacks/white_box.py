"""The canonical white-box attack: the latent whose image has the intercepted feature (Crafter, Eq. 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facecrafter.attacks.reconstruction import Progress, Reconstruction, random_latents
from facecrafter.inversion import AttackerModel, invert
from facecrafter.precision import Precision, fast_dtype


class WhiteBox:
    """Minimises ‖F − Enc(G(z))‖² per image over z from random starts, and shows G(z).

    The minimiser is Levenberg-Marquardt: every iteration linearises φ once, and its length is in the Jacobian
    products. docs/engine.md compares it with the paper's 600 gradient steps. Each restart keeps the best
    latent of its path, and the result for an image does not depend on the images beside it.

    Args:
        encoder: images (N, 3, H, W) in [0, 1] -> features (N, C, h, w); used in eval mode.
        prior: the generator G, latents (N, d) -> images in [0, 1]; d is read from its first linear layer.
        iterations: linearisations per restart.
        restarts: random normal starts per image.
        steps: conjugate-gradient steps per linearisation.
        precision: of the Jacobian products: ``bf16``, ``32`` (the networks' own), or ``auto``: bf16 where the
            device multiplies it in hardware. Features, images and losses keep the networks' own precision.
    """

    VERSION = 2
    access = "white"

    def __init__(
        self,
        encoder: nn.Module,
        prior: nn.Module,
        iterations: int = 30,
        restarts: int = 3,
        steps: int = 9,
        precision: Precision = "auto",
    ) -> None:
        if iterations < 1 or restarts < 1:
            raise ValueError(f"iterations={iterations} and restarts={restarts} must both be at least 1")
        self.iterations = iterations
        self.restarts = restarts
        self.steps = steps
        device = next(encoder.parameters()).device
        self.model = AttackerModel(encoder, prior, fast_dtype(precision, device))

    def reconstruct(
        self,
        features: Tensor,
        generator: torch.Generator,
        progress: Progress | None = None,
        rows: Tensor | None = None,
    ) -> Reconstruction:
        """Inverts N features.

        Args:
            features: (N, C, h, w), what the encoder is thought to have made.
            generator: gives its initial seed; an image's starts are drawn from (seed, row).
            progress: called after every iteration.
            rows: (N,) int64, the images' row numbers; 0..N-1 if not given.

        Raises:
            ValueError: the features do not have the shape of the encoder's output on an image of the prior.
        """
        rows = torch.arange(len(features)) if rows is None else rows
        starts = random_latents(rows, self.restarts, self.model.latent_dim, generator.initial_seed())
        latents = starts.flatten(0, 1).to(features)
        _check_shape(features, self.model(latents[:1]).features)
        targets = features.repeat_interleave(self.restarts, dim=0)
        found = invert(self.model, targets, latents, self.iterations, self.steps, progress=progress)
        images = self.model(found.z).images
        shape = (len(features), self.restarts)
        return Reconstruction(
            images.reshape(*shape, *images.shape[1:]).float(), found.loss.reshape(shape).float()
        )


def _check_shape(features: Tensor, expected: Tensor) -> None:
    if features.shape[1:] != expected.shape[1:]:
        raise ValueError(
            f"the features are {tuple(features.shape[1:])} per image, but the encoder makes "
            f"{tuple(expected.shape[1:])} of the prior's images; use the encoder and size they came from"
        )
