"""ε: how far reconstructions are from what a prior takes for average faces."""

from __future__ import annotations

import torch

from experiments.evaluation.batches import in_batches
from experiments.evaluation.columns import Column
from experiments.evaluation.faces import Faces
from experiments.evaluation.restarts import Restarts
from facecrafter.metrics import EpsilonPoint, epsilon, epsilon_curve, epsilon_null
from lightning_modules.attackers.prior import Prior

COLUMNS = (
    Column(
        "epsilon",
        "ε",
        "Transport cost from the reconstructions to average faces, per pixel and channel (ε-perceptual "
        "inversion indistinguishability), 0 or more; lower reveals less.",
        ".5f",
    ),
    Column(
        "epsilon_null",
        "ε of the prior",
        "The same cost between two sets of average faces: what sampling alone gives.",
        ".5f",
    ),
)


class AverageFaces:
    """What a prior makes of random latents, for ε: one set to compare with, and another for the null.

    Args:
        prior: on `device()`.
        faces: the private-test images, whose colours the samples are matched to.
        seed: of the latents, and of the order in which `curve` takes the images.
    """

    def __init__(self, prior: Prior, faces: Faces, seed: int) -> None:
        self.rng = torch.Generator().manual_seed(seed)
        # As many in either set as there are faces: what transport costs between two samples depends on
        # how large they are, so only equal sets can be compared with the null.
        latents = torch.randn(2 * len(faces.rows), prior.latent_dim, generator=self.rng)
        self.samples, self.others = in_batches(prior.network, latents).chunk(2)
        self.private = faces.images

    def distances(self, restarts: Restarts) -> dict[str, dict[str, float | None]]:
        """ε and its null of each restart's images and of the best."""
        # One null serves every restart: it has nothing to do with what was reconstructed.
        null = epsilon_null(self.samples, self.others, self.private).scaled
        only = len(restarts.images) == 1  # then it is the best
        shown = restarts.images if only else [*restarts.images, restarts.best]
        found = [epsilon(images, self.samples, self.private).scaled for images in shown]
        columns = [{"epsilon": value, "epsilon_null": null} for value in (found * 2 if only else found)]
        return dict(zip(restarts.names, columns, strict=True))

    def curve(self, restarts: Restarts) -> list[EpsilonPoint]:
        """ε and its null of the best over the number of images."""
        return epsilon_curve(restarts.best, self.samples, self.others, self.private, self.rng)
