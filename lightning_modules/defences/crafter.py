"""Crafter as a defence: Algorithm 1 on every batch of private images."""

from __future__ import annotations

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from facecrafter.crafter.crafting import CraftingState, FeatureCrafting, InnerProblem
from facecrafter.crafter.critic import CriticTraining
from facecrafter.crafter.health import HealthCheck, advice
from facecrafter.crafter.implicit import Solver
from facecrafter.crafter.inversion import AttackerModel
from facecrafter.precision import Precision
from lightning_modules.artifacts import load_artifact
from lightning_modules.attackers.prior import Prior
from lightning_modules.defences.base import Defence


class Crafter(Defence):
    """Crafts each feature so that its inversion looks like an average face (paper, Algorithm 1).

    Args:
        target: artifact folder of the target network.
        prior: artifact folder of the generator G of the simulated attacker.
        beta: β, the weight of utility against privacy: large is useful, small is private.
        iterations: of the while loop, at most.
        tolerance: stop when the root mean square of the last update of F falls below it; 0 runs all
            iterations.
        learning_rate: of Adam on F.
        solver: of the implicit gradient: `facecrafter.crafter.implicit.ConjugateGradient` (default) or
            `NeumannSeries` (the paper's).
        inner: how z* follows F.
        critic: how the critic is trained.
        health: when to compare the implicit gradient with a near-exact one; a warning says what to change.
        precision: of the Jacobian products: bf16, 32, or auto (bf16 where the processor or the GPU multiplies
            it natively).
        seed, query: see Defence.
    """

    def __init__(
        self,
        target: str,
        prior: str,
        beta: float = 1.0,
        iterations: int = 40,
        tolerance: float = 0.0,
        learning_rate: float = 0.05,
        solver: Solver | None = None,
        inner: InnerProblem | None = None,
        critic: CriticTraining | None = None,
        health: HealthCheck | None = None,
        precision: Precision = "auto",
        seed: int = 0,
        query: int = 0,
    ) -> None:
        super().__init__(target, seed, query)
        self.automatic_optimization = False
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {iterations}")
        self.iterations = iterations
        self.tolerance = tolerance
        generator = load_artifact(prior, Prior)
        self.crafting = FeatureCrafting(
            AttackerModel(self.encoder, generator.network, precision),
            generator.image_size,
            beta,
            learning_rate,
            solver,
            inner,
            critic,
            health,
        )

    def protect(self, images: Tensor, generator: torch.Generator) -> Tensor:
        with torch.enable_grad():  # prediction switches gradients off; the critic needs its own
            state = self.crafting.start(images, generator)
            while not self._finished(state):
                metrics = self.crafting.step(state)
                self.announce(iteration=state.iteration, iterations=self.iterations, **metrics)
                for warning in advice(metrics):
                    rank_zero_warn(f"Crafter, iteration {state.iteration}: {warning}")
        return state.features

    def _finished(self, state: CraftingState) -> bool:
        return state.iteration >= self.iterations or state.change < self.tolerance
