"""The published Crafter as a defence: what the engine of `Crafter` is compared with."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from facecrafter.crafter.critic import CriticTraining
from facecrafter.crafter.reference import (
    PUBLISHED_CRITIC,
    PUBLISHED_PRODUCTS,
    SQUARED,
    UNSQUARED,
    PublishedCrafting,
    RestartedInversion,
)
from lightning_modules.artifacts import load_artifact
from lightning_modules.attackers.amortizer import Amortizer
from lightning_modules.attackers.prior import Prior
from lightning_modules.defences.base import Defence

READINGS = {"squared": SQUARED, "unsquared": UNSQUARED}


class PublishedCrafter(Defence):
    """Algorithms 1 and 2 of the paper with its own numbers, in plain autograd: the reference, slow.

    Args:
        target: artifact folder of the target network.
        prior: artifact folder of the generator G of the simulated attacker.
        amortizer: artifact folder of the amortizer, trained on the same two. Without one every inversion of
            an image starts from the same random latent.
        beta: β, the weight of utility against privacy: large is useful, small is private.
        iterations: of the while loop, 450 to 500 in the paper.
        reading: of the inner norm: squared as in the published code, or unsquared as in the paper.
        learning_rate: of Adam on F.
        inner: how the inner problem is solved.
        products: Hessian-vector products of Algorithm 2.
        critic: how the critic is trained.
        seed, query: see Defence.
    """

    def __init__(
        self,
        target: str,
        prior: str,
        amortizer: str | None = None,
        beta: float = 1.0,
        iterations: int = 500,
        reading: Literal["squared", "unsquared"] = "squared",
        learning_rate: float = 0.01,
        inner: RestartedInversion | None = None,
        products: int = PUBLISHED_PRODUCTS,
        critic: CriticTraining = PUBLISHED_CRITIC,
        seed: int = 0,
        query: int = 0,
    ) -> None:
        super().__init__(target, seed, query)
        self.automatic_optimization = False
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {iterations}")
        self.iterations = iterations
        generator = load_artifact(prior, Prior)
        self.crafting = PublishedCrafting(
            self.encoder,
            generator.network,
            generator.latent_dim,
            beta,
            amortizer=load_artifact(amortizer, Amortizer).amortizer if amortizer else None,
            reading=READINGS[reading],
            learning_rate=learning_rate,
            inner=inner,
            products=products,
            critic=critic,
        )

    def protect(self, images: Tensor, generator: torch.Generator) -> Tensor:
        with torch.enable_grad():  # prediction switches gradients off; every iteration takes its own
            state = self.crafting.start(images, generator)
            while state.iteration < self.iterations:
                metrics = self.crafting.step(state)
                self.announce(iteration=state.iteration, iterations=self.iterations, **metrics)
        return state.features
