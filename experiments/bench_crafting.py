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
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from facecrafter.crafting import CriticTraining, FeatureCrafting, InnerProblem
from facecrafter.implicit import normal_matrix
from facecrafter.inversion import AttackerModel, squared_distance
from facecrafter.nets.critic import Critic
from facecrafter.nets.generator import Generator1
from facecrafter.nets.target import resnet18
from facecrafter.precision import fast_dtype
from facecrafter.wasserstein import earth_mover, gradient_penalty

ITERATIONS, INNER_STEPS, HESSIAN_PRODUCTS, CRITIC_STEPS, CRITIC_BATCH = 500, 80, 150, 10, 32
"""The published numbers (section V and appendix G)."""
Row = dict[str, Any]
T = TypeVar("T")


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
    calls = 2 + 6 * (sizes.repeats + 1)  # see Case.measure
    return calls * sum(sizes.batches)


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
        """The table's lines; the published run and the engine's are put together from the measured parts."""
        took = self.measure()
        iteration = (
            INNER_STEPS * took["inner"] + HESSIAN_PRODUCTS * took["hessian"] + CRITIC_STEPS * took["critic"]
        )
        refreshes = (ITERATIONS - 1) // InnerProblem().refresh
        run = took["start"] + (ITERATIONS - refreshes) * took["step"] + refreshes * took["refresh"]
        return [
            self.row("inner momentum step", reference=took["inner"]),
            self.row(f"critic step of {min(CRITIC_BATCH, self.batch)}", reference=took["critic"]),
            self.row("Hessian product, float32", reference=took["hessian"], engine=took["float32"]),
            self.row("Hessian product, bfloat16", reference=took["hessian"], engine=took["bfloat16"]),
            self.row("first inversion", engine=took["start"]),
            self.row("iteration", reference=iteration, engine=took["step"]),
            self.row("iteration with fresh inversion", engine=took["refresh"]),
            self.row(f"{ITERATIONS} iterations", reference=ITERATIONS * iteration, engine=run),
        ]

    def measure(self) -> dict[str, float]:
        """Seconds of every part, for the whole batch."""
        published, crafting = Published(self), self.crafting()
        state, start = self.seconds(lambda: crafting.start(self.images, self.random))
        medians = self.medians(
            {
                "inner": published.inner_step,
                "hessian": published.hessian_product,
                "critic": published.critic_step,
                "float32": self.product(torch.float32),
                "bfloat16": self.product(torch.bfloat16),
                "step": lambda: crafting.step(state),
            }
        )
        state.iteration = crafting.inner.refresh
        _, refresh = self.seconds(lambda: crafting.step(state))
        return medians | {"start": start, "refresh": refresh}

    def row(self, part: str, reference: float | None = None, engine: float | None = None) -> Row:
        """One line of the table, from seconds for the whole batch."""
        return {
            "case": f"batch {self.batch}, width {self.sizes.width}: {part}",
            "reference_s_per_image": reference and reference / self.batch,
            "engine_s_per_image": engine and engine / self.batch,
            "speedup": reference / engine if reference and engine else None,
        }

    def crafting(self) -> FeatureCrafting:
        """The engine, with the published numbers of critic steps."""
        model = AttackerModel(self.encoder, self.generator, fast_dtype("auto"))
        training = CriticTraining(CRITIC_STEPS, batch=CRITIC_BATCH, width=self.sizes.width)
        return FeatureCrafting(model, self.sizes.image_size, beta=1.0, critic=training)

    def product(self, dtype: torch.dtype) -> Callable[[], Tensor]:
        """v ↦ JᵀJ·v at a random latent, in this precision."""
        matrix = normal_matrix(AttackerModel(self.encoder, self.generator, dtype)(self.z).d_phi)
        return lambda: matrix(self.z)

    def medians(self, actions: dict[str, Callable[[], Any]]) -> dict[str, float]:
        """The median seconds of each, after a first call that is not counted.

        They take turns, so that a machine that is busy for a while slows down all of them alike.
        """
        rounds = [
            {name: self.seconds(action)[1] for name, action in actions.items()}
            for _ in range(self.sizes.repeats + 1)
        ]
        return {name: median(times[name] for times in rounds[1:]) for name in actions}

    def seconds(self, action: Callable[[], T]) -> tuple[T, float]:
        """What the call returns, and how long it took."""
        started = time.perf_counter()
        result = action()
        taken = time.perf_counter() - started
        self.bar.update(self.batch)
        return result, taken


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
        self.real = case.images[:CRITIC_BATCH]
        self.fake = case.generator(case.z[:CRITIC_BATCH])
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
