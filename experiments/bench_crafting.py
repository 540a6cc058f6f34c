"""Crafter's engine against the published algorithm, on ResNet18's encoder and G1 with random weights.

The published run is assembled from the time of its parts, because a whole one takes hours: 80 momentum steps
on z, 150 Hessian-vector products by a retained double backward pass, and 10 critic steps, 500 times over.
What else an iteration does (the privacy gradient, the last product) is left out, which favours the reference.
The engine's run is assembled from a real start, real steps, and a real step with the fresh inversion of every
50th iteration. Both have frozen parameters and train the same critic.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from facecrafter.crafting import CriticTraining, FeatureCrafting
from facecrafter.implicit import normal_matrix
from facecrafter.inversion import AttackerModel, squared_distance
from facecrafter.nets.critic import Critic
from facecrafter.nets.generator import Generator1
from facecrafter.nets.target import resnet18
from facecrafter.precision import fast_dtype
from facecrafter.wasserstein import earth_mover, gradient_penalty

ITERATIONS, INNER_STEPS, HESSIAN_PRODUCTS, CRITIC_STEPS, CRITIC_BATCH = 500, 80, 150, 10, 32
"""The published numbers (section V and appendix G)."""
MEASUREMENTS = 8  # of each batch size

Row = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """Of the networks and batches; `repeats` is how many times each short part is timed."""

    batches: tuple[int, ...] = (8, 64)
    width: int = 64
    image_size: int = 64
    latent_dim: int = 500
    repeats: int = 3


FULL, QUICK = Sizes(), Sizes(batches=(8,), width=32)


def work(sizes: Sizes) -> int:
    """How much there is to do, in the bar's units."""
    return MEASUREMENTS * sum(sizes.batches)


def rows(sizes: Sizes, bar: tqdm) -> list[Row]:
    """The parts of both algorithms, and what protecting one image takes with each, for every batch size."""
    return [row for batch in sizes.batches for row in Case(batch, sizes, bar).rows()]


class Case:
    """All measurements of one batch size."""

    def __init__(self, batch: int, sizes: Sizes, bar: tqdm) -> None:
        self.batch, self.sizes, self.bar = batch, sizes, bar
        self.random = torch.Generator().manual_seed(0)
        torch.manual_seed(0)
        self.encoder = resnet18(n_outputs=1).encoder.eval().requires_grad_(False)
        self.generator = Generator1(sizes.latent_dim, sizes.image_size, sizes.width).eval()
        self.generator.requires_grad_(False)
        self.images = torch.rand(batch, 3, sizes.image_size, sizes.image_size, generator=self.random)
        self.z = torch.randn(batch, sizes.latent_dim, generator=self.random)

    def rows(self) -> list[Row]:
        start, step, refresh, engine = self.engine()
        published = Published(self)
        inner = self.seconds(published.inner_step)
        hessian = self.seconds(published.hessian_product)
        critic = self.seconds(published.critic_step)
        iteration = INNER_STEPS * inner + HESSIAN_PRODUCTS * hessian + CRITIC_STEPS * critic
        exact, fast = (self.seconds(self.product(dtype)) for dtype in (torch.float32, torch.bfloat16))
        return [
            self.row("inner momentum step", reference=inner),
            self.row(f"critic step of {published.pairs}", reference=critic),
            self.row("Hessian product, float32", reference=hessian, engine=exact),
            self.row("Hessian product, bfloat16", reference=hessian, engine=fast),
            self.row("first inversion", engine=start),
            self.row("iteration", reference=iteration, engine=step),
            self.row("iteration with fresh inversion", engine=refresh),
            self.row(f"{ITERATIONS} iterations", reference=ITERATIONS * iteration, engine=engine),
        ]

    def row(self, part: str, reference: float | None = None, engine: float | None = None) -> Row:
        """One line of the table, from seconds for the whole batch."""
        return {
            "case": f"batch {self.batch}, width {self.sizes.width}: {part}",
            "reference_s_per_image": reference and reference / self.batch,
            "engine_s_per_image": engine and engine / self.batch,
            "speedup": reference / engine if reference and engine else None,
        }

    def engine(self) -> tuple[float, float, float, float]:
        """Seconds of the start, of a step, of a step with a fresh inversion, and of a whole run."""
        model = AttackerModel(self.encoder, self.generator, fast_dtype("auto"))
        training = CriticTraining(CRITIC_STEPS, batch=CRITIC_BATCH, width=self.sizes.width)
        crafting = FeatureCrafting(model, self.sizes.image_size, beta=1.0, critic=training)
        started = time.perf_counter()
        state = crafting.start(self.images, self.random)
        start = time.perf_counter() - started
        self.bar.update(self.batch)
        step = self.seconds(lambda: crafting.step(state))
        every = crafting.inner.refresh
        state.iteration = every
        started = time.perf_counter()
        crafting.step(state)
        refresh = time.perf_counter() - started
        self.bar.update(self.batch)
        refreshes = (ITERATIONS - 1) // every
        return start, step, refresh, start + (ITERATIONS - refreshes) * step + refreshes * refresh

    def product(self, dtype: torch.dtype) -> Callable[[], Tensor]:
        """v ↦ JᵀJ·v at a random latent, in this precision."""
        matrix = normal_matrix(AttackerModel(self.encoder, self.generator, dtype)(self.z).d_phi)
        return lambda: matrix(self.z)

    def seconds(self, action: Callable[[], Any]) -> float:
        """The median of a few calls, after one that is not counted."""
        times = []
        for _ in range(self.sizes.repeats + 1):
            started = time.perf_counter()
            action()
            times.append(time.perf_counter() - started)
        self.bar.update(self.batch)
        return median(times[1:])


class Published:
    """What the published algorithm spends its time with, in plain autograd."""

    def __init__(self, case: Case) -> None:
        self.phi = nn.Sequential(case.generator, case.encoder)
        self.features = case.encoder(case.images)
        self.z = case.z.clone().requires_grad_()
        self.inner_optimizer = torch.optim.SGD([self.z], 1e-6, momentum=0.9)
        self.point = case.z.clone().requires_grad_()
        (self.slope,) = torch.autograd.grad(self.loss(self.point), self.point, create_graph=True)
        self.critic = Critic(case.sizes.image_size, case.sizes.width)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), 5e-4)
        self.pairs = min(CRITIC_BATCH, case.batch)
        self.real = case.images[: self.pairs]
        self.fake = case.generator(case.z[: self.pairs])
        self.random = case.random

    def loss(self, z: Tensor) -> Tensor:
        return squared_distance(self.features, self.phi(z)).sum()

    def inner_step(self) -> None:
        """One step of the inversion."""
        (self.z.grad,) = torch.autograd.grad(self.loss(self.z), self.z)
        self.inner_optimizer.step()

    def hessian_product(self) -> None:
        """One term of the Neumann series; the graph of the slope is built once and retained."""
        torch.autograd.grad(self.slope, self.point, self.z.detach(), retain_graph=True)

    def critic_step(self) -> None:
        """One step on a fresh mini-batch, with the gradient penalty."""
        penalty = gradient_penalty(self.critic, self.real, self.fake, self.random)
        loss = 20 * penalty - earth_mover(self.critic, self.real, self.fake)
        self.critic_optimizer.zero_grad()
        loss.backward()
        self.critic_optimizer.step()
