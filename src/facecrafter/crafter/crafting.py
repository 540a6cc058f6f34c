"""Algorithm 1 of the paper: feature crafting, as steps on a state.

`FeatureCrafting.start` initialises one batch, `FeatureCrafting.step` is one pass through the algorithm's
while loop. All losses are per image: L_u = ‖F − Enc(x)‖²/n with n elements of a feature, L_p = −D(G(z*)); so
a feature's gradient does not depend on how many others are in its batch. Only the critic sees the batch: it
is the distribution.

Its parts may be exchanged: what L_u measures, whom a face is drawn to, who attacks inside, how F moves, and
what of it is released. By default all are those of the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from facecrafter.crafter.attackers import InnerAttacker, Opponent, Scene
from facecrafter.crafter.batch import not_finite, open_batch
from facecrafter.crafter.critic import CriticTraining, FreshCritic
from facecrafter.crafter.erasure import Eraser
from facecrafter.crafter.health import HealthCheck
from facecrafter.crafter.implicit import ConjugateGradient, Solver, implicit_gradient
from facecrafter.crafter.inversion import (
    AttackerModel,
    InnerProblem,
    Response,
    fresh_response,
    gauss_newton_step,
    squared_distance,
)
from facecrafter.crafter.release import Crafted, Release
from facecrafter.crafter.towards import KeyedFaces
from facecrafter.crafter.update import AdamSteps, Stepper, Update
from facecrafter.crafter.utility import CostOfFeatures, FeatureDistance, Utility
from facecrafter.randomness import seeded

STRANGERS = 1
"""What their latents are seeded with, beside a batch's own seed."""


@dataclass
class CraftingState:
    """One batch in hand. `rng` draws everything that is random, so a seed fixes the result."""

    raw: Tensor  # Enc(x) (N, C, h, w)
    features: Tensor  # F
    z: Tensor  # z* (N, d)
    critic: FreshCritic
    move: Stepper  # of F
    utility: CostOfFeatures  # L_u
    rng: torch.Generator
    wanted: Tensor | None = None  # x_r (N, 3, H, W), where each image is drawn to a face of its own
    others: Sequence[tuple[Opponent, FreshCritic]] = ()  # inner attackers beside the search for z*
    iteration: int = 0
    change: float = field(default=float("inf"))  # root mean square of the last update of F


class FeatureCrafting:
    """Crafter on one batch of images.

    Args:
        model: φ = Enc∘G of the simulated attacker.
        beta: β, the weight of L_u against L_p: large is useful, small is private.
        learning_rate: η of the steps of F (flr).
        solver: of the implicit gradient's linear system (Algorithm 2 is `NeumannSeries`).
        inner: how z* follows F.
        critic: how the critic is trained. It computes in bfloat16 where the Jacobian products of `model` do.
        health: when to compare the implicit gradient with a near-exact one.
        release: what of F leaves the device; default: all of it, as published.
        utility: what L_u measures; default: the distance of the features, as published.
        towards: whom faces are drawn to beside the batch's average; default: nobody, as published.
        attackers: inner attackers beside the search for z*, each with a critic of its own.
        combine: with several attackers, the gradient of F is the `mean` of theirs, or for each image that of
            the `worst`: the one whose image is furthest from average, D(average) − D(x̂), the pull to its own
            face included.
        update: how F follows its gradient; default: Adam, as published.
        head: f, the public head behind the split, for parts that look at its layers.
        decoder: features -> images, for an inner attacker with a decoder.
        eraser: takes out of features what tells people apart, for `WithoutIdentity`.
    """

    def __init__(
        self,
        model: AttackerModel,
        beta: float = 1.0,
        learning_rate: float = 0.05,
        solver: Solver | None = None,
        inner: InnerProblem | None = None,
        critic: CriticTraining | None = None,
        health: HealthCheck | None = None,
        release: Release | None = None,
        utility: Utility | None = None,
        towards: KeyedFaces | None = None,
        attackers: Sequence[InnerAttacker] = (),
        combine: Literal["mean", "worst"] = "mean",
        update: Update | None = None,
        head: nn.Module | None = None,
        decoder: nn.Module | None = None,
        eraser: Eraser | None = None,
    ) -> None:
        if beta < 0:
            raise ValueError(f"beta must not be negative, got {beta}")
        self.model = model
        self.beta = beta
        self.learning_rate = learning_rate
        self.solver = solver or ConjugateGradient()
        self.inner = inner or InnerProblem()
        self.critic = critic or CriticTraining()
        self.health = health or HealthCheck()
        self.release = release
        self.utility = utility or FeatureDistance()
        self.towards = towards
        self.attackers = attackers
        self.combine = combine
        self.update = update or AdamSteps()
        self.head = head
        self.decoder = decoder
        self.eraser = eraser

    def start(self, images: Tensor, rng: torch.Generator) -> CraftingState:
        """Line 1, the first z* of line 3, and the critics' warm-up. images (N, 3, H, W) in [0, 1]."""
        raw, z, critic = open_batch(self.model, images, self.inner, self.critic, rng)
        features = raw.clone()
        wanted = self._wanted(images)
        scene = Scene(self.model, raw, z, critic.average_faces, wanted, self.inner, self.decoder)
        others = [self._meet(attacker(scene), raw, rng) for attacker in self.attackers]
        move, utility = self.update(features, self.learning_rate), self.utility(raw, self.head)
        return CraftingState(raw, features, z, critic, move, utility, rng, wanted, others)

    def step(self, state: CraftingState) -> dict[str, float]:
        """Lines 3 to 13. Moves the state on; returns losses and the solver's health at the point it left.

        Raises ArithmeticError, with the cause, where the gradient of F is not finite.
        """
        if self.inner.refresh and state.iteration and state.iteration % self.inner.refresh == 0:
            self._refresh(state)
        at = self.model(state.z)  # line 3: z* was moved with F at the end of the last step
        state.critic.train(at.images, self.critic.steps)  # lines 4-9
        scores, grad_images, pull = self._privacy(state.critic, at.images, state.wanted)  # line 10
        # L_p reads the image alone, so ∂L_p/∂z* comes back through G, and only the inner problem through φ.
        implicit = implicit_gradient(at.d_phi, at.d_generator.vjp(grad_images), self.solver)  # line 11
        cost = state.utility(state.features)
        metrics = self._metrics(state, at, scores, implicit.residual)
        metrics["utility_loss"] = cost.loss.mean().item()
        if self.health.due(state.iteration):
            metrics |= self.health(
                self.model, state.features, state.z, grad_images, implicit.gradient, self.solver.ridge
            )
        privacy = implicit.gradient
        if state.others:
            privacy = self._against_all(state, state.critic.average_score() - scores + pull, privacy)
        gradient = privacy + self.beta * cost.gradient  # line 12
        if not torch.isfinite(gradient).all():
            where = f"the gradient of F is not finite at iteration {state.iteration}"
            raise ArithmeticError(f"{where}: {_cause(state, scores)}")
        self._update(state, gradient, at)  # line 13
        # Line 3 of the next iteration: the response follows F, in the linearisation at hand.
        residual = state.features - at.features
        state.z = state.z + gauss_newton_step(at.d_phi, residual, self.inner.damping, self.inner.steps)
        for opponent, _ in state.others:
            opponent.follow(state.features)
        state.iteration += 1
        return metrics

    def released(self, state: CraftingState) -> Tensor:
        """What leaves the device (N, C, h, w): F, or what `release` makes of it."""
        if self.release is None:
            return state.features
        # Not from `rng`: where crafting ends early, how much was drawn from it depends on the faces.
        strangers = self.model.latents(state.raw, seeded(state.rng.initial_seed(), STRANGERS))
        crafted = Crafted(state.raw, state.features, state.z, self.model, self.head, self.eraser, strangers)
        return self.release(crafted)

    def _wanted(self, images: Tensor) -> Tensor | None:
        """The faces that `towards` draws the images to."""
        if self.towards is None:
            return None
        with torch.no_grad():
            faces: Tensor = self.model.generator(self.towards.latents(images, self.model.latent_dim))
        return faces

    def _meet(self, opponent: Opponent, raw: Tensor, rng: torch.Generator) -> tuple[Opponent, FreshCritic]:
        """An inner attacker with its critic, warmed up."""
        critic = FreshCritic(self.critic, opponent.average, rng, self.model.dtype)
        if self.critic.warmup:
            critic.train(opponent.look(raw).images, self.critic.warmup)
        return opponent, critic

    def _privacy(
        self, critic: FreshCritic, images: Tensor, wanted: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The scores D (N,), ∂L_p/∂x̂ (N, 3, H, W), and what the pull adds to L_p (N,)."""
        scores, gradient = critic.privacy(images)
        if self.towards is None or wanted is None:
            return scores, gradient, torch.zeros_like(scores)
        pull = self.towards(images, wanted)
        return scores, gradient + pull.gradient, pull.loss

    def _against_all(self, state: CraftingState, gap: Tensor, gradient: Tensor) -> Tensor:
        """∂L_p/∂F over all attackers, given the gap (N,) and the gradient of the search for z*."""
        gaps, gradients = [gap], [gradient]
        for opponent, critic in state.others:
            look = opponent.look(state.features)
            critic.train(look.images, self.critic.steps)
            scores, grad_images, pull = self._privacy(critic, look.images, opponent.wanted)
            gaps.append(critic.average_score() - scores + pull)
            gradients.append(look.gradient(grad_images))
        every = torch.stack(gradients)
        if self.combine == "mean":
            return every.mean(dim=0)
        return every[torch.stack(gaps).argmax(dim=0), torch.arange(len(gap), device=gap.device)]

    def _update(self, state: CraftingState, gradient: Tensor, at: Response) -> None:
        before = state.features.clone()
        state.move(gradient, at.d_phi)
        state.change = (state.features - before).square().mean().sqrt().item()

    def _metrics(
        self, state: CraftingState, at: Response, scores: Tensor, residual: Tensor
    ) -> dict[str, float]:
        missing = state.features - at.features
        # Lemma 1 holds where ∂L_inv/∂z = 0: this says how far z* is from such a point.
        slope = 2 * at.d_phi.vjp(missing).norm(dim=1)  # ‖∂L_inv/∂z‖
        return {
            **state.critic.metrics(scores),
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


def _cause(state: CraftingState, scores: Tensor) -> str:
    """Which part of a step was the first that is not finite, and what helps."""
    if bad := not_finite(state.z):
        return f"z* of images {bad} of the batch is not; raise inner.damping or lower learning_rate"
    if not torch.isfinite(scores).all():
        return "the critic's scores are not; lower critic.learning_rate"
    others = ", or leave out one of `attackers`" if state.others else ""
    return f"the implicit gradient is not; raise the solver's damping{others}"
