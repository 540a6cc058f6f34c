"""Algorithm 1 of the paper: feature crafting, as steps on a state.

`FeatureCrafting.start` initialises one batch, `FeatureCrafting.step` is one pass through the algorithm's
while loop. All losses are per image: L_u = ‖F − Enc(x)‖²/n with n elements of a feature, L_p = −D(G(z*)); so
a feature's gradient does not depend on how many others are in its batch. Only the critic sees the batch: it
is the distribution.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from facecrafter.crafter.critic import CriticTraining, FreshCritic
from facecrafter.crafter.health import HealthCheck
from facecrafter.crafter.implicit import ConjugateGradient, Solver, implicit_gradient
from facecrafter.crafter.inversion import AttackerModel, Response, gauss_newton_step, invert, squared_distance
from facecrafter.crafter.release import OnManifold


@dataclass(frozen=True)
class InnerProblem:
    """Line 3: how z* follows F. Warm-started: one damped Gauss-Newton step for every change of F.

    Args:
        first: Levenberg-Marquardt iterations of the first inversion.
        starts: random starts of an inversion; each image keeps its best.
        refresh: every so many iterations, invert afresh from random starts and keep the better z* of each
            image; 0 never.
        steps: conjugate-gradient steps of a Gauss-Newton step.
        damping: μ of the Gauss-Newton step between two iterations.
    """

    first: int = 15
    starts: int = 2
    refresh: int = 50
    steps: int = 3
    damping: float = 20.0


@dataclass
class CraftingState:
    """One batch in hand. `rng` draws everything that is random, so a seed fixes the result."""

    raw: Tensor  # Enc(x) (N, C, h, w)
    features: Tensor  # F
    z: Tensor  # z* (N, d)
    critic: FreshCritic
    optimizer: torch.optim.Optimizer  # of F
    rng: torch.Generator
    iteration: int = 0
    change: float = field(default=float("inf"))  # root mean square of the last update of F


class FeatureCrafting:
    """Crafter on one batch of images.

    Args:
        model: φ = Enc∘G of the simulated attacker.
        image_size: H = W of its images.
        beta: β, the weight of L_u against L_p: large is useful, small is private.
        learning_rate: of Adam on F (flr).
        solver: of the implicit gradient's linear system (Algorithm 2 is `NeumannSeries`).
        inner: how z* follows F.
        critic: how the critic is trained. It computes in bfloat16 where the Jacobian products of `model` do.
        health: when to compare the implicit gradient with a near-exact one.
        release: what of F leaves the device; default: all of it, as published.
    """

    def __init__(
        self,
        model: AttackerModel,
        image_size: int,
        beta: float = 1.0,
        learning_rate: float = 0.05,
        solver: Solver | None = None,
        inner: InnerProblem | None = None,
        critic: CriticTraining | None = None,
        health: HealthCheck | None = None,
        release: OnManifold | None = None,
    ) -> None:
        if beta < 0:
            raise ValueError(f"beta must not be negative, got {beta}")
        self.model = model
        self.image_size = image_size
        self.beta = beta
        self.learning_rate = learning_rate
        self.solver = solver or ConjugateGradient()
        self.inner = inner or InnerProblem()
        self.critic = critic or CriticTraining()
        self.health = health or HealthCheck()
        self.release = release

    def start(self, images: Tensor, rng: torch.Generator) -> CraftingState:
        """Line 1, the first z* of line 3, and the critic's warm-up. images (N, 3, H, W) in [0, 1]."""
        raw, z, critic = open_batch(self.model, images, self.inner, self.critic, rng)
        features = raw.clone()
        optimizer = torch.optim.Adam([features], self.learning_rate, fused=True)
        return CraftingState(raw, features, z, critic, optimizer, rng)

    def step(self, state: CraftingState) -> dict[str, float]:
        """Lines 3 to 13. Moves the state on; returns losses and the solver's health at the point it left.

        Raises ArithmeticError, with the cause, where the gradient of F is not finite.
        """
        if self.inner.refresh and state.iteration and state.iteration % self.inner.refresh == 0:
            self._refresh(state)
        at = self.model(state.z)  # line 3: z* was moved with F at the end of the last step
        state.critic.train(at.images, self.critic.steps)  # lines 4-9
        scores, grad_images = state.critic.privacy(at.images)  # line 10
        # L_p reads the image alone, so ∂L_p/∂z* comes back through G, and only the inner problem through φ.
        implicit = implicit_gradient(at.d_phi, at.d_generator.vjp(grad_images), self.solver)  # line 11
        # In closed form. The unsquared norm of Eq. 6 has no gradient at F = Enc(x), where every batch starts.
        deviation = state.features - state.raw
        grad_utility = 2 * deviation / deviation[0].numel()
        metrics = self._metrics(state, at, scores, implicit.residual)
        if self.health.due(state.iteration):
            metrics |= self.health(
                self.model, state.features, state.z, grad_images, implicit.gradient, self.solver.ridge
            )
        gradient = implicit.gradient + self.beta * grad_utility  # line 12
        if not torch.isfinite(gradient).all():
            where = f"the gradient of F is not finite at iteration {state.iteration}"
            raise ArithmeticError(f"{where}: {_cause(state, scores)}")
        self._update(state, gradient)  # line 13
        # Line 3 of the next iteration: the response follows F, in the linearisation at hand.
        residual = state.features - at.features
        state.z = state.z + gauss_newton_step(at.d_phi, residual, self.inner.damping, self.inner.steps)
        state.iteration += 1
        return metrics

    def released(self, state: CraftingState) -> Tensor:
        """What leaves the device (N, C, h, w): F, or what `release` makes of it."""
        return self.release(state.features, state.z, self.model) if self.release else state.features

    def _update(self, state: CraftingState, gradient: Tensor) -> None:
        before = state.features.clone()
        state.features.grad = gradient
        state.optimizer.step()
        state.change = (state.features - before).square().mean().sqrt().item()

    def _metrics(
        self, state: CraftingState, at: Response, scores: Tensor, residual: Tensor
    ) -> dict[str, float]:
        missing = state.features - at.features
        # Lemma 1 holds where ∂L_inv/∂z = 0: this says how far z* is from such a point.
        slope = 2 * at.d_phi.vjp(missing).norm(dim=1)  # ‖∂L_inv/∂z‖
        utility = (state.features - state.raw).square().flatten(1).mean(dim=1)
        return {
            "privacy_loss": -scores.mean().item(),
            "utility_loss": utility.mean().item(),
            "emd": state.critic.average_score() - scores.mean().item(),
            "gradient_penalty": state.critic.penalty,
            "inversion_loss": squared_distance(state.features, at.features).mean().item(),
            "stationarity": slope.mean().item(),
            "solver_residual": residual.mean().item(),
        }

    def _refresh(self, state: CraftingState) -> None:
        """Inverts F afresh and keeps each image's better response: z* cannot stay in a poor valley."""
        fresh = fresh_response(self.model, state.features, self.inner, state.rng)
        loss = squared_distance(state.features, self.model(state.z).features)
        # A fresh loss that is NaN compares as false: the response in hand stays.
        better = squared_distance(state.features, self.model(fresh).features) < loss
        state.z = torch.where(better[:, None], fresh, state.z)


def open_batch(
    model: AttackerModel,
    images: Tensor,
    inner: InnerProblem,
    training: CriticTraining,
    rng: torch.Generator,
) -> tuple[Tensor, Tensor, FreshCritic]:
    """What Algorithms 1 and 3 begin with: Enc(x), its best response, and a critic after its warm-up.

    The model goes where the images are. A batch may hold any number of them; a critic of more takes all.

    Raises:
        ValueError: there are no images, or one of them or its feature is not finite; says which.
    """
    if len(images) == 0:
        raise ValueError("a batch needs at least one image to protect")
    if bad := _not_finite(images):
        raise ValueError(f"images {bad} of the batch are not finite: leave them out")
    model.to(images.device)
    # A seed fixes the result through this order of draws: average faces, starts, the critic and its batches.
    with torch.no_grad():
        raw = model.encoder(images)
        # z_avg of line 7. Line 6 samples its mini-batches from these: drawn once and kept.
        average = model.generator(model.latents(raw, rng))
    if bad := _not_finite(raw):
        raise ValueError(f"the features of images {bad} of the batch are not finite: train the encoder again")
    z = fresh_response(model, raw, inner, rng)
    critic = FreshCritic(training, average, rng, model.dtype)
    if training.warmup:
        critic.train(model(z).images, training.warmup)
    return raw, z, critic


def fresh_response(
    model: AttackerModel, features: Tensor, inner: InnerProblem, rng: torch.Generator
) -> Tensor:
    """The better of `inner.starts` inversions from random latents, for each image."""
    starts = [model.latents(features, rng) for _ in range(inner.starts)]
    tries = [invert(model, features, start, inner.first, inner.steps) for start in starts]
    best = torch.stack([tried.loss for tried in tries]).argmin(dim=0)
    return torch.stack([tried.z for tried in tries])[best, torch.arange(len(best), device=best.device)]


def _not_finite(values: Tensor) -> list[int]:
    """The images of the batch of which some of the values (N, ...) are not finite."""
    return [number for number, own in enumerate(values) if not torch.isfinite(own).all()]


def _cause(state: CraftingState, scores: Tensor) -> str:
    """Which part of a step was the first that is not finite, and what helps."""
    if bad := _not_finite(state.z):
        return f"z* of images {bad} of the batch is not; raise inner.damping or lower learning_rate"
    if not torch.isfinite(scores).all():
        return "the critic's scores are not; lower critic.learning_rate"
    return "the implicit gradient is not; raise the solver's damping"
