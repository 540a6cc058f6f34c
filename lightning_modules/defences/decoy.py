"""Release down to the floor without any crafting: a stranger's feature, with the answer of this face."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from facecrafter.crafter.inversion import AttackerModel
from facecrafter.crafter.release import Crafted, DownToFloor
from facecrafter.crafter.towards import keyed_latents
from facecrafter.nets.through_head import LOGITS
from lightning_modules.artifacts import load_artifact
from lightning_modules.attackers.prior import Prior
from lightning_modules.defences.base import Defence


class Decoy(Defence):
    """Releases F' = Enc(G(z_r)) + δ, the feature of an unrelated prior face, with h(F') = h(Enc(x)).

    Nothing is crafted: no critic, no inversion. Of the face F' holds what the layer h of the public head
    makes of it, and nothing else: inverted at the split it shows the stranger, and an attacker has to invert
    h. What h gives away is all that is left, and judging F' at the split alone makes it look safer than it
    is. A feature that keeps only the answer of one head serves no other task: `layer` is the dial.

    Args:
        target: artifact folder of the target network.
        prior: artifact folder of the generator G.
        layer: h, by its name in the head, see
            `facecrafter.crafter.layers.public_layer`.
        secret: z_r comes from it and the image, see `facecrafter.crafter.towards.keyed_latents`; None draws
            another stranger for every query, which tells nothing more either: h is the same in all of them.
        steps: of Adam on δ, where h makes many numbers.
        learning_rate: of Adam, in units of a feature's element.
        seed, query: see Defence.
    """

    VERSION = 4

    randomised = True

    def __init__(
        self,
        target: str,
        prior: str,
        layer: str = LOGITS,
        secret: str | None = None,
        steps: int = 200,
        learning_rate: float = 0.05,
        seed: int = 0,
        query: int = 0,
    ) -> None:
        super().__init__(target, seed, query)
        self.secret = secret
        self.release = DownToFloor(layer, steps, learning_rate)
        # No Jacobian product is taken.
        self.model = AttackerModel(self.encoder, load_artifact(prior, Prior).network, "32")

    @classmethod
    def is_randomised(cls, arguments: Mapping[str, Any]) -> bool:
        return arguments.get("secret") is None

    def protect(self, images: Tensor, rng: torch.Generator) -> Tensor:
        self.model.to(images.device)
        with torch.no_grad():
            raw = self.model.encoder(images)
        strangers = (
            self.model.latents(raw, rng)
            if self.secret is None
            else keyed_latents(self.secret, images, self.model.latent_dim)
        )
        return self.release(Crafted(raw, raw, strangers, self.model, self.head))
