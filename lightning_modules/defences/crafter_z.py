"""Crafter-z as a defence: Algorithm 3 on every batch of private images (a rival of Crafter's own family)."""

from __future__ import annotations

import torch
from torch import Tensor

from facecrafter.crafter.crafting import InnerProblem
from facecrafter.crafter.crafting_z import LatentCrafting
from facecrafter.crafter.critic import CriticTraining
from facecrafter.crafter.inversion import AttackerModel
from facecrafter.precision import Precision
from lightning_modules.artifacts import load_artifact
from lightning_modules.attackers.prior import Prior
from lightning_modules.defences.base import Defence


class CrafterZ(Defence):
    """Crafts the latent of each image so that its image looks average (paper, section V-B, Algorithm 3).

    Every released feature is one that the prior can express. Published: β of 20 and 50 with learning rates
    of 1e-4, 5e-4 and 1e-3 on CelebA; 5, 10 and 20 with 1e-4, 1e-3 and 1e-2 on LFW. The number of iterations
    is not stated; here it is that of the published Crafter.

    Args:
        target: artifact folder of the target network.
        prior: artifact folder of the generator G of the simulated attacker.
        beta: β, the weight of utility against privacy.
        learning_rate: lr_z, of Adam on the latents.
        iterations: of the while loop.
        inner: how Enc(x) is inverted to begin with.
        critic: how the critic is trained.
        precision: of the Jacobian products: bf16, 32, or auto (bf16 where the processor or the GPU multiplies
            it natively).
        seed, query: see Defence.
    """

    def __init__(
        self,
        target: str,
        prior: str,
        beta: float = 20.0,
        learning_rate: float = 5e-4,
        iterations: int = 500,
        inner: InnerProblem | None = None,
        critic: CriticTraining | None = None,
        precision: Precision = "auto",
        seed: int = 0,
        query: int = 0,
    ) -> None:
        super().__init__(target, seed, query)
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {iterations}")
        self.iterations = iterations
        model = AttackerModel(self.encoder, load_artifact(prior, Prior).network, precision)
        self.crafting = LatentCrafting(model, beta, learning_rate, inner, critic)

    def protect(self, images: Tensor, generator: torch.Generator) -> Tensor:
        with torch.enable_grad():  # prediction switches gradients off; the critic needs its own
            state = self.crafting.start(images, generator)
            for _ in range(self.iterations):
                metrics = self.crafting.step(state)
                self.announce(iteration=state.iteration, iterations=self.iterations, **metrics)
        return self.crafting.features(state)
