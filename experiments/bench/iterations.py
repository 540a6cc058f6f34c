"""An iteration of the published algorithm and one of the engine, in parts that can be timed alone.

A published run takes hours, so its cost is assembled from parts of `facecrafter.crafter.reference`:
80 momentum steps, 150 Hessian-vector products and 10 critic steps, around an iteration without any of them.
Its inversions start without an amortizer, which saves it a forward pass. The engine has its own defaults:
real iterations; inversions assembled from single Levenberg-Marquardt steps, the critic's warm-up from its
steps.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from experiments.bench.timing import Action
from facecrafter.crafter.crafting import FeatureCrafting
from facecrafter.crafter.critic import CriticTraining
from facecrafter.crafter.implicit import implicit_gradient, normal_matrix
from facecrafter.crafter.inversion import AttackerModel, InnerProblem, gauss_newton_step, invert
from facecrafter.crafter.reference import (
    PUBLISHED_CRITIC,
    PUBLISHED_PRODUCTS,
    InnerPoint,
    PublishedCrafting,
    RestartedInversion,
)
from facecrafter.nets.generator import Generator1
from facecrafter.nets.target import ARCHITECTURES

ITERATIONS = 500
Seconds = dict[str, float]


class Batch:
    """Random images in the hands of both algorithms, before networks with random weights.

    Args:
        network: whose encoder makes the features.
        image_size: H = W.
        latent_dim: d.
        batch: number of images.
        width: of generator and critic.
        device: where all of it computes.
    """

    def __init__(
        self, network: str, image_size: int, latent_dim: int, batch: int, width: int, device: torch.device
    ) -> None:
        torch.manual_seed(0)
        self.rng = torch.Generator().manual_seed(0)
        self.latent_dim, self.width = latent_dim, width
        self.encoder = ARCHITECTURES[network](1).encoder.eval().to(device)
        self.generator = Generator1(latent_dim, image_size, width).eval().to(device)
        self.images = torch.rand(batch, 3, image_size, image_size, device=device)
        self.z, self.grad_z = torch.randn(2, batch, latent_dim, device=device)
        self.features = self.encoder(self.images).detach()
        # Inversions have one step and there is no warm-up: `engine_iteration` adds what is missing.
        self.crafting = FeatureCrafting(
            AttackerModel(self.encoder, self.generator, precision="auto"),
            beta=1.0,
            inner=replace(InnerProblem(), first=1),
            critic=replace(CriticTraining(), width=width, warmup=0),
        )
        self.state = self.crafting.start(self.images, self.rng)

    def reference_parts(self) -> dict[str, Action]:
        """One step of each loop of Algorithms 1 and 2, and an iteration without any; in this order.

        The graph of the inner problem's derivatives, gigabytes of it, lives from `slope` to `mixed`.
        """
        one, bare = self._published(steps=1), self._published(steps=0)
        state = bare.start(self.images, self.rng)
        points: list[InnerPoint] = []
        return {
            "momentum step": lambda: one.invert(self.features, self.z),
            "slope": lambda: points.append(one.inner_point(self.features, self.z)),
            "product": lambda: one.inverse_hessian_product(points[0], self.grad_z),
            "mixed": lambda: points.pop().mixed(self.grad_z),
            "critic step": lambda: state.critic.train(state.critic.average_faces, 1),
            "bare iteration": lambda: bare.step(state),
        }

    def engine_parts(self) -> dict[str, Action]:
        """A usual iteration of the engine, and what it is made of."""
        model, inner, critic = self.crafting.model, self.crafting.inner, self.crafting.critic
        at = model(self.z)
        residual = self.features - at.features
        return {
            "engine product": lambda: normal_matrix(at.d_phi)(self.grad_z),
            "linearisation": lambda: model(self.z),
            "response": lambda: gauss_newton_step(at.d_phi, residual, inner.damping, inner.steps),
            "implicit": lambda: implicit_gradient(at.d_phi, self.grad_z, self.crafting.solver),
            "engine critic": lambda: self.state.critic.train(at.images, critic.steps),
            "marquardt": lambda: invert(model, self.features, self.z, 1, inner.steps),
            "usual": lambda: self._engine_step(1),
        }

    def rare_parts(self) -> dict[str, Action]:
        """What a run of the engine does a few times only."""
        return {
            "start": lambda: self.crafting.start(self.images, self.rng),
            "first": lambda: self._engine_step(0),
            "fresh": lambda: self._engine_step(self.crafting.inner.refresh),
        }

    def whole_published_iteration(self) -> Action:
        """One with the published numbers, to hold the sum of its parts against."""
        critic = replace(PUBLISHED_CRITIC, width=self.width)
        crafting = PublishedCrafting(self.encoder, self.generator, self.latent_dim, 1.0, critic=critic)
        state = crafting.start(self.images, self.rng)
        return lambda: crafting.step(state)

    def _engine_step(self, iteration: int) -> None:
        """The engine's iteration of this number: the first checks health, every so many invert afresh."""
        self.state.iteration = iteration
        self.crafting.step(self.state)

    def _published(self, steps: int) -> PublishedCrafting:
        """The reference with so many steps in each of its loops."""
        critic = replace(PUBLISHED_CRITIC, steps=steps, width=self.width)
        inner = RestartedInversion(steps)
        return PublishedCrafting(
            self.encoder, self.generator, self.latent_dim, 1.0, inner=inner, products=steps, critic=critic
        )


def published_iteration(took: Seconds) -> Seconds:
    """Seconds of a published iteration by part, from those of its single steps."""
    return {
        "inner solve": RestartedInversion().steps * took["momentum step"],
        "implicit gradient": took["slope"] + PUBLISHED_PRODUCTS * took["product"] + took["mixed"],
        "critic": PUBLISHED_CRITIC.steps * took["critic step"],
        "rest": took["bare iteration"] - took["slope"] - took["mixed"],
    }


def engine_iteration(took: Seconds, inner: InnerProblem, critic: CriticTraining) -> Seconds:
    """Seconds of the engine's average iteration by part: what a run does a few times only is shared out."""
    refreshes = (ITERATIONS - 1) // inner.refresh if inner.refresh else 0
    usual = (ITERATIONS - 1 - refreshes) * took["usual"]
    run = took["start"] + took["first"] + usual + refreshes * took["fresh"]
    inversions, each = (1 + refreshes) * inner.starts, took["marquardt"]
    run += inversions * (inner.first - 1) * each  # one step of each is in `start` and `fresh`
    run += critic.warmup / critic.steps * took["engine critic"]
    parts = {
        "inner solve": took["linearisation"]
        + took["response"]
        + inversions * inner.first * each / ITERATIONS,
        "implicit gradient": took["implicit"],
        "critic": took["engine critic"],
    }
    return parts | {"rest": run / ITERATIONS - sum(parts.values())}
