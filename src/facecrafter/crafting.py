"""Algorithm 1 of the paper: feature crafting, as steps on a state.

`FeatureCrafting.start` initialises one batch, `FeatureCrafting.step` is one pass through the algorithm's
while loop. All losses are per image: L_u = ‖F − Enc(x)‖²/n with n elements of a feature, L_p = −D(G(z*)); so
a feature's gradient does not depend on how many others are in its batch. Only the critic sees the batch: it
is the distribution.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from facecrafter.implicit import ConjugateGradient, Solver, implicit_gradient, normal_matrix, power_iteration
from facecrafter.inversion import AttackerModel, Response, gauss_newton_step, invert, squared_distance
from facecrafter.nets.critic import Critic
from facecrafter.wasserstein import earth_mover, gradient_penalty


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

    first: int = 25
    starts: int = 2
    refresh: int = 50
    steps: int = 5
    damping: float = 20.0


@dataclass(frozen=True)
class CriticTraining:
    """Lines 4 to 9: the fresh critic of every batch.

    Args:
        steps: n_critic, critic steps per feature update.
        warmup: critic steps before the first feature update.
        batch: m, images on each side of one step; a batch with fewer images takes them all.
        width: channels of the critic's first layer.
        learning_rate: of Adam.
        penalty: w, the weight of the gradient penalty; doubled while g_p > 1, as in the published code.
    """

    steps: int = 10
    warmup: int = 0
    batch: int = 32
    width: int = 64
    learning_rate: float = 5e-4
    penalty: float = 20.0


@dataclass
class CraftingState:
    """One batch in hand. `random` draws everything that is random, so a seed fixes the result."""

    raw: Tensor  # Enc(x) (N, C, h, w)
    features: Tensor  # F
    z: Tensor  # z* (N, d)
    average_faces: Tensor  # G(z_avg) (N, 3, H, W), drawn once and kept
    critic: nn.Module
    critic_optimizer: torch.optim.Optimizer
    feature_optimizer: torch.optim.Optimizer
    random: torch.Generator
    leading: Tensor  # estimate of the leading eigenvectors of JᵀJ, refined at every iteration
    penalty: float = 0.0  # g_p of the last critic step
    iteration: int = 0
    change: float = field(default=float("inf"))  # root mean square of the last update of F


class FeatureCrafting:
    """Crafter on one batch of images.

    Args:
        model: φ = Enc∘G of the simulated attacker.
        image_size: H = W of its images.
        beta: β, the weight of L_u against L_p.
        learning_rate: of Adam on F (flr).
        solver: of the implicit gradient's linear system (Algorithm 2 is `NeumannSeries`).
        inner: how z* follows F.
        critic: how the critic is trained.
    """

    def __init__(
        self,
        model: AttackerModel,
        image_size: int,
        beta: float,
        learning_rate: float = 0.01,
        solver: Solver | None = None,
        inner: InnerProblem | None = None,
        critic: CriticTraining | None = None,
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

    def start(self, images: Tensor, random: torch.Generator) -> CraftingState:
        """Line 1, the first z* of line 3, and the critic's warm-up. images (N, 3, H, W) in [0, 1]."""
        with torch.no_grad():
            raw = self.model.encoder(images)
            average = self.model.generator(self._latents(len(images), random, images.device))
        if not torch.isfinite(raw).all():
            raise ValueError(
                "the encoder returned a feature that is not finite: check its weights and the images"
            )
        z = self._fresh_response(raw, random)
        features = raw.clone()
        critic = self._new_critic(random).to(images.device)
        state = CraftingState(
            raw=raw,
            features=features,
            z=z,
            average_faces=average,
            critic=critic,
            critic_optimizer=torch.optim.Adam(critic.parameters(), self.critic.learning_rate, fused=True),
            feature_optimizer=torch.optim.Adam([features], self.learning_rate, fused=True),
            random=random,
            leading=self._latents(len(images), random, images.device),
        )
        if self.critic.warmup:
            self._train_critic(state, self.model(z).images, self.critic.warmup)
        return state

    def step(self, state: CraftingState) -> dict[str, float]:
        """Lines 3 to 13. Moves the state on; returns losses and the solver's health at the point it left."""
        if self.inner.refresh and state.iteration and state.iteration % self.inner.refresh == 0:
            self._refresh(state)
        at = self.model(state.z)  # line 3: z* was moved with F at the end of the last step
        self._train_critic(state, at.images, self.critic.steps)  # lines 4-9
        scores, grad_images = self._privacy_gradient(state, at.images)  # line 10
        implicit = implicit_gradient(at.d_phi, at.d_generator.vjp(grad_images), self.solver)  # line 11
        deviation = state.features - state.raw
        grad_utility = 2 * deviation / deviation[0].numel()
        metrics = self._metrics(state, at, scores, implicit.residual)
        self._update(state, implicit.gradient + self.beta * grad_utility)  # lines 12 and 13
        # Line 3 of the next iteration: the response follows F, in the linearisation at hand.
        residual = state.features - at.features
        state.z = state.z + gauss_newton_step(at.d_phi, residual, self.inner.damping, self.inner.steps)
        state.iteration += 1
        return metrics

    def _update(self, state: CraftingState, gradient: Tensor) -> None:
        if not torch.isfinite(gradient).all():
            raise ArithmeticError(
                f"the gradient of F is not finite at iteration {state.iteration}: "
                "raise the solver's damping or lower the learning rates"
            )
        before = state.features.clone()
        state.features.grad = gradient
        state.feature_optimizer.step()
        state.change = (state.features - before).square().mean().sqrt().item()

    def _train_critic(self, state: CraftingState, posterior: Tensor, steps: int) -> None:
        """Lines 4-9 on the images G(z*) `posterior` and G(z_avg), mini-batches drawn afresh."""
        size = min(self.critic.batch, len(posterior))
        for _ in range(steps):
            fake = posterior[_draw(len(posterior), size, state.random)]
            real = state.average_faces[_draw(len(posterior), size, state.random)]
            weight = self.critic.penalty * (2 if state.penalty > 1 else 1)
            penalty = gradient_penalty(state.critic, real, fake, state.random)
            loss = weight * penalty - earth_mover(state.critic, real, fake)
            state.critic_optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            state.critic_optimizer.step()
            state.penalty = penalty.item()

    def _privacy_gradient(self, state: CraftingState, images: Tensor) -> tuple[Tensor, Tensor]:
        """Line 10: the critic's scores of G(z*) (N,), and each image's gradient of its L_p = −D."""
        images = images.detach().requires_grad_()
        scores = state.critic(images).float()
        (gradient,) = torch.autograd.grad(-scores.sum(), images)
        return scores.detach(), gradient

    def _metrics(
        self, state: CraftingState, at: Response, scores: Tensor, residual: Tensor
    ) -> dict[str, float]:
        state.leading, largest = power_iteration(normal_matrix(at.d_phi), state.leading, steps=1)
        missing = state.features - at.features
        slope = 2 * at.d_phi.vjp(missing).norm(dim=1)  # ‖∂L_inv/∂z‖
        with torch.no_grad():
            prior = state.critic(state.average_faces).float().mean().item()
        utility = (state.features - state.raw).square().flatten(1).mean(dim=1)
        return {
            "privacy_loss": -scores.mean().item(),
            "utility_loss": utility.mean().item(),
            "emd": prior - scores.mean().item(),
            "gradient_penalty": state.penalty,
            "inversion_loss": squared_distance(state.features, at.features).mean().item(),
            "stationarity": slope.mean().item(),
            "largest_eigenvalue": largest.max().item(),
            "solver_residual": residual.mean().item(),
        }

    def _refresh(self, state: CraftingState) -> None:
        """Inverts F afresh and keeps each image's better response: z* cannot stay in a poor valley."""
        fresh = self._fresh_response(state.features, state.random)
        loss = squared_distance(state.features, self.model(state.z).features)
        better = squared_distance(state.features, self.model(fresh).features) < loss
        state.z = torch.where(better[:, None], fresh, state.z)

    def _fresh_response(self, features: Tensor, random: torch.Generator) -> Tensor:
        """The better of `starts` inversions from random latents, for each image."""
        count, inner = len(features), self.inner
        starts = [self._latents(count, random, features.device) for _ in range(inner.starts)]
        tries = [invert(self.model, features, start, inner.first, inner.steps) for start in starts]
        best = torch.stack([tried.loss for tried in tries]).argmin(dim=0)
        return torch.stack([tried.z for tried in tries])[
            best, torch.arange(len(features), device=best.device)
        ]

    def _latents(self, count: int, random: torch.Generator, device: torch.device) -> Tensor:
        return torch.randn(count, self.model.latent_dim, generator=random, device=random.device).to(device)

    def _new_critic(self, random: torch.Generator) -> nn.Module:
        """A fresh critic whose weights depend on the generator alone."""
        seed = int(torch.randint(2**62, (), generator=random, device=random.device))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Critic(self.image_size, self.critic.width)


def _draw(count: int, size: int, random: torch.Generator) -> Tensor:
    """`size` different indices below `count`."""
    return torch.randperm(count, generator=random, device=random.device)[:size]
