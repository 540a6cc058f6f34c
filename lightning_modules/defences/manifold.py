"""Release on the manifold without any crafting: what the prior makes of a face."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from facecrafter.crafter.erasure import Eraser
from facecrafter.crafter.inversion import AttackerModel, InnerProblem, fresh_response
from facecrafter.crafter.release import Crafted, OnManifold, Release
from facecrafter.precision import Precision
from lightning_modules.artifacts import load_artifact
from lightning_modules.attackers.prior import Prior
from lightning_modules.defences.base import Defence


class Manifold(Defence):
    """Releases φ(z*) + α (Enc(x) − φ(z*)): the feature of the prior's closest face, and a share of the rest.

    Nothing is crafted: it shows what of Crafter's protection comes from the release alone. An attacker who
    inverts the feature finds the prior's image of the face, which may still be recognised.

    Args:
        target: artifact folder of the target network.
        prior: artifact folder of the generator G.
        alpha: α, the share of what the prior cannot express, in [0, 1]; at 1 the raw feature is released.
        inner: how Enc(x) is inverted: its `first` iterations and `starts` count.
        precision: of the Jacobian products: bf16, 32, or auto (bf16 where the device multiplies it natively).
        seed, query: see Defence.
    """

    randomised = True  # the search for z* starts anew for every query

    def __init__(
        self,
        target: str,
        prior: str,
        alpha: float = 0.0,
        inner: InnerProblem | None = None,
        precision: Precision = "auto",
        seed: int = 0,
        query: int = 0,
    ) -> None:
        super().__init__(target, seed, query)
        self.inner = inner or InnerProblem()
        self.release: Release = OnManifold(alpha)
        self.eraser: Eraser | None = None
        self.model = AttackerModel(self.encoder, load_artifact(prior, Prior).network, precision)

    @classmethod
    def is_randomised(cls, arguments: Mapping[str, Any]) -> bool:
        return arguments.get("alpha") != 1

    def protect(self, images: Tensor, rng: torch.Generator) -> Tensor:
        self.model.to(images.device)
        raw = self.model.encoder(images)
        z = fresh_response(self.model, raw, self.inner, rng)
        return self.release(Crafted(raw, raw, z, self.model, self.head, self.eraser))
