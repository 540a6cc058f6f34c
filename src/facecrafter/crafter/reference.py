"""Crafter as published: Algorithms 1 and 2 in plain autograd, which the engine is measured against.

`PublishedCrafting` has the shape of `FeatureCrafting` (`start`, `step`) and the same critic. It differs
where the engine is fast: every iteration solves the inner problem anew, by momentum steps from the
amortizer's guess, and Algorithm 2 takes each Hessian-vector product by a second backward pass through a
retained graph. It is a fair reference: networks are frozen, only the gradients that an iteration
uses are taken, and the graph goes with the last of them.

Losses are per image, as everywhere; so no image's gradient depends on the others in its batch.
"""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from facecrafter.crafter.critic import CriticTraining, FreshCritic
from facecrafter.crafter.implicit import Solution, power_iteration
from facecrafter.crafter.inversion import squared_distance


@dataclass(frozen=True)
class Reading:
    """What the published norm of L_inv is read as: L_inv = ‖F − φ(z)‖ᵖ / p per image.

    Args:
        power: p.
        alpha: α of Algorithm 2, the step on the Hessian of this L_inv.
    """

    power: int
    alpha: float


SQUARED = Reading(power=2, alpha=1.907e-6)
"""The published code: its α = 0.001 is αc = 1.907e-6 on JᵀJ, at its batch of 128 features 64 x 16 x 16."""
UNSQUARED = Reading(power=1, alpha=1e-3)
"""The paper: α on JᵀJ/‖F − φ(z)‖, at the inner problem's solution."""


@dataclass(frozen=True)
class RestartedInversion:
    """Line 3: momentum steps down weight·‖F − φ(z)‖ per image, from the same start in every iteration.

    Args:
        steps: of momentum, 80 to 110 in the paper.
        weight: of the norm: 100 on the norm of a batch of 128 is 100/√128 on that of each image.
        learning_rate, momentum: of the descent.
    """

    steps: int = 80
    weight: float = 100 / math.sqrt(128)
    learning_rate: float = 5e-3
    momentum: float = 0.9


PUBLISHED_CRITIC = CriticTraining(
    steps=10, warmup=0, batch=32, width=64, learning_rate=5e-4, penalty=20.0, penalty_every=1
)
"""Spelled out: the engine's defaults are its own."""
PUBLISHED_PRODUCTS = 150
"""i of Algorithm 2."""


@dataclass
class PublishedState:
    """One batch in hand. `rng` draws everything that is random, so a seed fixes the result."""

    raw: Tensor  # Enc(x) (N, C, h, w)
    features: Tensor  # F
    first: Tensor  # latents (N, d) where inversions start if there is no amortizer
    z: Tensor  # z* (N, d) of the last iteration
    critic: FreshCritic
    optimizer: torch.optim.Optimizer  # of F
    rng: torch.Generator
    iteration: int = 0


class InnerPoint(NamedTuple):
    """∂L_inv/∂z (N, d) at (F, z), with the graph of its own derivatives; ‖F − φ(z)‖² (N,) without one."""

    features: Tensor
    z: Tensor
    slope: Tensor
    distance: Tensor

    def hessian(self, v: Tensor) -> Tensor:
        """∂²L_inv/∂z² · v (N, d), by a second backward pass."""
        # The whole Hessian, with the curvature of φ that the engine's JᵀJ leaves out.
        return torch.autograd.grad(self.slope, self.z, v, retain_graph=True)[0]

    def mixed(self, v: Tensor) -> Tensor:
        """v · ∂²L_inv/∂z∂F (N, C, h, w). The graph is freed: nothing can be differentiated afterwards."""
        return torch.autograd.grad(self.slope, self.features, v)[0]


class PublishedCrafting:
    """Algorithm 1 with Algorithm 2 on one batch of images; the published numbers are the defaults.

    Args:
        encoder: Enc, images (N, 3, H, W) in [0, 1] -> features (N, C, h, w).
        generator: G, latents (N, d) -> images in [0, 1].
        latent_dim: d.
        beta: β, the weight of L_u against L_p.
        amortizer: features -> latents (N, d) where each inversion starts. Without one they start in every
            iteration from the same random latents, drawn once for each image.
        reading: of the inner norm, `SQUARED` or `UNSQUARED`.
        learning_rate: of Adam on F (flr).
        inner: how the inner problem is solved.
        products: i of Algorithm 2, Hessian-vector products; its sum has one more term.
        critic: how the critic is trained.
    """

    def __init__(
        self,
        encoder: nn.Module,
        generator: nn.Module,
        latent_dim: int,
        beta: float = 1.0,
        amortizer: nn.Module | None = None,
        reading: Reading = SQUARED,
        learning_rate: float = 0.01,
        inner: RestartedInversion | None = None,
        products: int = PUBLISHED_PRODUCTS,
        critic: CriticTraining = PUBLISHED_CRITIC,
    ) -> None:
        if beta < 0:
            raise ValueError(f"beta must not be negative, got {beta}")
        self.phi = nn.Sequential(_frozen(generator), _frozen(encoder))
        self.generator, self.encoder = self.phi
        self.amortizer = _frozen(amortizer) if amortizer else None
        self.latent_dim = latent_dim
        self.beta = beta
        self.reading = reading
        self.learning_rate = learning_rate
        self.inner = inner or RestartedInversion()
        self.products = products
        self.critic = critic

    def start(self, images: Tensor, rng: torch.Generator) -> PublishedState:
        """Line 1. images (N, 3, H, W) in [0, 1]."""
        self.phi.to(images.device)
        if self.amortizer:
            self.amortizer.to(images.device)
        with torch.no_grad():
            raw = self.encoder(images)
            average = self.generator(self._latents(images, rng))
        if not torch.isfinite(raw).all():
            raise ValueError(
                "the encoder returned a feature that is not finite: check its weights and the images"
            )
        features, first = raw.clone(), self._latents(images, rng)
        critic = FreshCritic(self.critic, average, rng)
        optimizer = torch.optim.Adam([features], self.learning_rate, fused=True)
        return PublishedState(raw, features, first, first, critic, optimizer, rng)

    def released(self, state: PublishedState) -> Tensor:
        """What leaves the device: F (N, C, h, w)."""
        return state.features

    def step(self, state: PublishedState) -> dict[str, float]:
        """Lines 3 to 13. Moves the state on; returns losses and the solver's health at the point it left."""
        state.z = self.invert(state.features, self._restart(state))  # line 3
        z = state.z.clone().requires_grad_()
        images = self.generator(z)
        state.critic.train(images.detach(), self.critic.steps)  # lines 4-9
        scores, grad_images = state.critic.privacy(images)  # line 10
        # The chain rule through G: the critic saw detached images, and its gradient goes on from there.
        (grad_z,) = torch.autograd.grad(images, z, grad_images)
        at = self.inner_point(state.features, state.z)
        solution = self.inverse_hessian_product(at, grad_z)  # line 11
        deviation = state.features - state.raw
        grad_utility = 2 * deviation / deviation[0].numel()
        metrics = self._metrics(state, at, scores, solution.residual)
        self._update(state, self.beta * grad_utility - at.mixed(solution.x))  # lines 12 and 13
        state.iteration += 1
        return metrics

    def invert(self, features: Tensor, start: Tensor) -> Tensor:
        """Line 3: z* (N, d) of the features F, from the latents `start`."""
        z = start.clone().requires_grad_()
        descent = torch.optim.SGD([z], self.inner.learning_rate, self.inner.momentum)
        for _ in range(self.inner.steps):
            distance = (features - self.phi(z)).flatten(1).norm(dim=1)
            (z.grad,) = torch.autograd.grad(self.inner.weight * distance.sum(), z)
            descent.step()
        if not torch.isfinite(z).all():
            raise ArithmeticError(
                "the inner problem's z* is not finite: check the weights of generator and amortizer, "
                f"or lower its learning rate from {self.inner.learning_rate:g}"
            )
        return z.detach()

    def inner_point(self, features: Tensor, z: Tensor) -> InnerPoint:
        """∂L_inv/∂z at (F, z), differentiable in both."""
        features, z = features.clone().requires_grad_(), z.clone().requires_grad_()
        distance = squared_distance(features, self.phi(z))
        loss = distance.pow(self.reading.power / 2) / self.reading.power
        (slope,) = torch.autograd.grad(loss.sum(), z, create_graph=True)
        return InnerPoint(features, z, slope, distance.detach())

    def inverse_hessian_product(self, at: InnerPoint, grad_z: Tensor) -> Solution:
        """Algorithm 2: α Σ_{j=0..i} (I − α ∂²L_inv/∂z²)ʲ ∂L_p/∂z (N, d).

        The residual (N,) is what the sum without its last term leaves of ∂L_p/∂z: that term's relative size.

        Raises:
            ArithmeticError: if the series diverges, naming the largest α it could take.
        """
        alpha = self.reading.alpha
        # Line 1 names p alone; v starts at the same vector (Lemma 2).
        v = p = before = grad_z
        for _ in range(self.products):
            before, v = v, v - alpha * at.hessian(v)
            p = p + v
        tiny = torch.finfo(v.dtype).tiny
        # Where the series diverges its last terms point along the largest eigenvalue μ: this is αμ there.
        alpha_mu = 1 - (before * v).sum(dim=1) / before.square().sum(dim=1).clamp_min(tiny)
        if not bool((alpha_mu < 2).all()):
            largest = power_iteration(at.hessian, torch.ones_like(grad_z), steps=20)[1].max()
            raise ArithmeticError(
                f"Algorithm 2 diverges: α·μ_max = {alpha * largest:.3g} must stay below 2, with μ_max the "
                f"largest eigenvalue of ∂²L_inv/∂z². Lower alpha from {alpha:g} below {2 / largest:.3g}"
            )
        return Solution(alpha * p, v.norm(dim=1) / grad_z.norm(dim=1).clamp_min(tiny))

    def _restart(self, state: PublishedState) -> Tensor:
        if self.amortizer is None:
            return state.first
        with torch.no_grad():
            latents: Tensor = self.amortizer(state.features)
        return latents

    def _update(self, state: PublishedState, gradient: Tensor) -> None:
        if not torch.isfinite(gradient).all():
            raise ArithmeticError(
                f"the gradient of F is not finite at iteration {state.iteration}: lower the learning rates"
            )
        state.features.grad = gradient
        state.optimizer.step()

    def _metrics(
        self, state: PublishedState, at: InnerPoint, scores: Tensor, residual: Tensor
    ) -> dict[str, float]:
        # ‖∂‖F − φ(z)‖²/∂z‖ in either reading.
        # ∂L_inv/∂z = −‖r‖ᵖ⁻²·Jᵀr with r = F − φ(z), and `distance` is ‖r‖²: the powers of ‖r‖ cancel.
        slope = 2 * at.slope.detach().norm(dim=1) * at.distance.pow(1 - self.reading.power / 2)
        utility = (state.features - state.raw).square().flatten(1).mean(dim=1)
        return {
            **state.critic.metrics(scores),
            "utility_loss": utility.mean().item(),
            "inversion_loss": at.distance.mean().item(),
            "stationarity": slope.mean().item(),
            "solver_residual": residual.mean().item(),
        }

    def _latents(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """One random latent for each image, on its device and in its precision."""
        return torch.randn(len(images), self.latent_dim, generator=rng, device=rng.device).to(images)


def _frozen(network: nn.Module) -> nn.Module:
    """A copy that takes no gradients: the caller's network stays as it is."""
    return deepcopy(network).eval().requires_grad_(False)
