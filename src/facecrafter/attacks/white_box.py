"""The canonical white-box attack: the latent whose image has the intercepted feature (Crafter, Eq. 3)."""

from __future__ import annotations

from torch import Tensor, nn

from facecrafter.attacks.reconstruction import Attack, Progress, Reconstruction, random_latents
from facecrafter.attacks.search import ToldToPhi, restarts_apart, search_latents
from facecrafter.crafter.inversion import AttackerModel
from facecrafter.precision import Precision


class WhiteBox(Attack):
    """Minimises ‖F − Enc(G(z))‖² per image over z from random starts, and shows G(z).

    The minimiser is Levenberg-Marquardt: every iteration linearises φ once, and its length is in the Jacobian
    products. docs/engine.md compares it with the paper's 600 gradient steps. Each restart keeps the best
    latent of its path, and the result for an image does not depend on the images beside it. The distance runs
    over the channels that were told; see `ToldChannels`.

    Args:
        encoder: images (N, 3, H, W) in [0, 1] -> features (N, C, h, w); used in eval mode.
        prior: the generator G, latents (N, d) -> images in [0, 1]; d is read from its first linear layer.
        iterations: linearisations per restart.
        restarts: random normal starts per image.
        steps: conjugate-gradient steps per linearisation.
        precision: of the Jacobian products: ``bf16``, ``32`` (the networks' own), or ``auto``: bf16 where the
            device multiplies it in hardware. Features, images and losses keep the networks' own precision.
    """

    VERSION = 3
    access = "white"
    describe = "Knows the encoder and has a generator of faces: searches its latents for the closest feature."

    def __init__(
        self,
        encoder: nn.Module,
        prior: nn.Module,
        iterations: int = 40,
        restarts: int = 3,
        steps: int = 12,
        precision: Precision = "auto",
    ) -> None:
        if iterations < 1 or restarts < 1:
            raise ValueError(f"iterations={iterations} and restarts={restarts} must both be at least 1")
        self.iterations = iterations
        self.restarts = restarts
        self.steps = steps
        self.model = AttackerModel(encoder, prior, precision)
        self.told = ToldToPhi(self.model)

    def _reconstruct(
        self, features: Tensor, rows: Tensor, seed: int, progress: Progress | None
    ) -> Reconstruction:
        starts = self.starts(features, rows, seed)
        found = search_latents(self.told, features, starts, self.iterations, self.steps, progress)
        return restarts_apart(self.model(found.z).images, found.loss, self.restarts)

    def starts(self, features: Tensor, rows: Tensor, seed: int) -> Tensor:
        """Latents (N, R, d) that the restarts for ``features`` (N, C, h, w) begin with."""
        return random_latents(rows, self.restarts, self.model.latent_dim, seed)
