"""Whether the implicit gradient can be believed: what the implicit function theorem asks, measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from facecrafter.crafter.implicit import ConjugateGradient, implicit_gradient, normal_matrix, power_iteration
from facecrafter.crafter.inversion import AttackerModel

LARGEST_ERROR, LARGEST_GAP = 0.05, 0.1


@dataclass(frozen=True)
class HealthCheck:
    """A look at a few images of the batch, in full precision, now and then.

    Args:
        every: iterations between two looks; 0 never looks.
        images: how many.
        steps: of the conjugate gradients that are taken for exact, and of the power iteration.

    Raises:
        ValueError: a number is negative, or there would be no image or step to look at.
    """

    every: int = 100
    images: int = 2
    steps: int = 30

    def __post_init__(self) -> None:
        if self.every < 0 or min(self.images, self.steps) < 1:
            raise ValueError(f"a health check needs every >= 0, images and steps >= 1, not {self}")

    def due(self, iteration: int) -> bool:
        """Whether this iteration takes a look."""
        return self.every > 0 and iteration % self.every == 0

    def __call__(
        self,
        model: AttackerModel,
        features: Tensor,
        z: Tensor,
        grad_images: Tensor,
        gradient: Tensor,
        ridge: float,
    ) -> dict[str, float]:
        """Means over the first images, of

        - `implicit_cosine`, `implicit_error`: the cosine and the relative distance between `gradient` and a
          near-exact solution of the same problem with the same ridge λ;
        - `inner_gap`: the share of the inversion loss ‖F − φ(z*)‖² that a damped Gauss-Newton step would
          still take away; 0 where z* is stationary, as the implicit function theorem asks;
        - `largest_eigenvalue`: of JᵀJ, the largest over the images.

        Args:
            model: φ.
            features: F (N, C, h, w).
            z: z* (N, d), where the gradient was taken.
            grad_images: ∂L_p/∂G(z*) (N, 3, H, W).
            gradient: ∂L_p/∂F (N, C, h, w), to be judged.
            ridge: λ of the solver that made it.
        """
        # The first, not random ones: a draw here would shift all later draws of the batch.
        features, z, grad_images, gradient = (
            part[: self.images] for part in (features, z, grad_images, gradient)
        )
        at = model.in_full_precision()(z)
        # Without any ridge the system is singular where a latent moves nothing.
        solver = ConjugateGradient(max(ridge, torch.finfo(z.dtype).eps), self.steps)
        exact = implicit_gradient(at.d_phi, at.d_generator.vjp(grad_images), solver).gradient
        missing = features - at.features
        slope = at.d_phi.vjp(missing)
        # With s = Jᵀr and δ = (JᵀJ + λI)⁻¹s, ‖r − Jδ‖² is less than ‖r‖² by sᵀδ + λ‖δ‖²; the second term,
        # small beside the first, is left out.
        falls = (slope * solver(normal_matrix(at.d_phi), slope).x).sum(dim=1)
        # From s, which lies in the range of JᵀJ, where all eigenvalues above zero live.
        _, largest = power_iteration(normal_matrix(at.d_phi), slope, self.steps)
        flat, true = gradient.flatten(1), exact.flatten(1)
        return {
            "implicit_cosine": cosine_similarity(flat, true).mean().item(),
            "implicit_error": ((flat - true).norm(dim=1) / true.norm(dim=1)).mean().item(),
            "inner_gap": (falls / missing.square().flatten(1).sum(dim=1)).mean().item(),
            "largest_eigenvalue": largest.max().item(),
        }


def advice(health: dict[str, float]) -> Iterator[str]:
    """What to change where a check found something wrong; nothing if all is well."""
    error, gap = health.get("implicit_error", 0.0), health.get("inner_gap", 0.0)
    if error > LARGEST_ERROR:
        yield (
            f"the implicit gradient is {error:.0%} off a near-exact one: raise the solver's steps, "
            "or its damping"
        )
    if gap > LARGEST_GAP:
        yield (
            f"z* is not a best response, {gap:.0%} of its inversion loss could still go: raise inner.steps, "
            "or lower learning_rate"
        )
