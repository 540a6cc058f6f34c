"""Algorithm 3 of the paper, Crafter-z: the latent is crafted in place of the feature.

The protected feature is φ(z) = Enc(G(z)), so L_p and L_u are plain functions of z (Equation 11) and nothing
is differentiated implicitly. All losses are per image, as in `facecrafter.crafter.crafting`:
L_u = ‖φ(z) − Enc(x)‖²/n with n elements of a feature, L_p = −D(G(z)).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from facecrafter.crafter.batch import open_batch
from facecrafter.crafter.critic import CriticTraining, FreshCritic
from facecrafter.crafter.inversion import AttackerModel, InnerProblem, Response


@dataclass
class LatentState:
    """One batch in hand."""

    raw: Tensor  # Enc(x) (N, C, h, w)
    z: Tensor  # (N, d)
    critic: FreshCritic
    optimizer: torch.optim.Optimizer  # of z
    iteration: int = 0


class LatentCrafting:
    """Crafter-z on one batch of images.

    Args:
        model: φ = Enc∘G of the simulated attacker.
        beta: β, the weight of L_u against L_p.
        learning_rate: of Adam on z (lr_z), which trades privacy against utility more than β does.
        inner: of which the first inversion, of Enc(x), is taken; z follows no F here.
        critic: how the critic is trained.
    """

    def __init__(
        self,
        model: AttackerModel,
        beta: float = 20.0,
        learning_rate: float = 5e-4,
        inner: InnerProblem | None = None,
        critic: CriticTraining | None = None,
    ) -> None:
        if beta < 0:
            raise ValueError(f"beta must not be negative, got {beta}")
        self.model = model
        self.beta = beta
        self.learning_rate = learning_rate
        self.inner = inner or InnerProblem()
        self.critic = critic or CriticTraining()

    def start(self, images: Tensor, rng: torch.Generator) -> LatentState:
        """z at the best response of Enc(x), and the critic's warm-up. images (N, 3, H, W) in [0, 1]."""
        raw, z, critic = open_batch(self.model, images, self.inner, self.critic, rng)
        return LatentState(raw, z, critic, torch.optim.Adam([z], self.learning_rate, fused=True))

    def step(self, state: LatentState) -> dict[str, float]:
        """One pass through the while loop: critic steps, then one step of z. Returns the losses before it."""
        at = self.model(state.z)
        state.critic.train(at.images, self.critic.steps)
        scores, grad_images = state.critic.privacy(at.images)
        gradient = self.gradient(at, state.raw, grad_images)
        if not torch.isfinite(gradient).all():
            raise ArithmeticError(
                f"the gradient of z is not finite at iteration {state.iteration}: lower the learning rates"
            )
        state.z.grad = gradient
        state.optimizer.step()
        state.iteration += 1
        utility = (at.features - state.raw).square().flatten(1).mean(dim=1)
        return state.critic.metrics(scores) | {"utility_loss": utility.mean().item()}

    def gradient(self, at: Response, raw: Tensor, grad_images: Tensor) -> Tensor:
        """∂(L_p + β·L_u)/∂z (N, d) at `at`, given ∂L_p/∂G(z) (N, 3, H, W)."""
        deviation = at.features - raw
        grad_utility = at.d_phi.vjp(2 * deviation / deviation[0].numel())
        return at.d_generator.vjp(grad_images) + self.beta * grad_utility

    def released(self, state: LatentState) -> Tensor:
        """What leaves the device: φ(z) (N, C, h, w)."""
        return self.model(state.z).features
