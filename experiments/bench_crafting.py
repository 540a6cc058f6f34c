"""What a protected image costs: Crafter's engine against the published algorithm, on the paper's sizes.

G1 and the encoder have random weights, width 64 as in the paper. A published run takes hours, so its cost is
assembled from the medians of its parts, all taken from `facecrafter.reference`: 80 momentum steps, 150
Hessian-vector products and 10 critic steps, around an iteration without any of them. A whole iteration checks
the sum. Its inversions start without an amortizer, which saves it a forward pass. The engine has its own
defaults: real iterations, and inversions assembled from single Levenberg-Marquardt steps. Both count 500
iterations: this compares what an iteration costs, not how many each needs.

The split of an iteration: `inner solve` is line 3 of Algorithm 1 with the engine's share of first and fresh
inversions, `implicit gradient` lines 11 and 12, `critic` lines 4 to 9; `rest` is what remains: line 10, Adam
on F, metrics and the engine's health checks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch
from tqdm import tqdm

from facecrafter.crafting import FeatureCrafting, InnerProblem
from facecrafter.critic_training import CriticTraining
from facecrafter.implicit import implicit_gradient, normal_matrix
from facecrafter.inversion import AttackerModel, gauss_newton_step, invert
from facecrafter.nets.generator import Generator1
from facecrafter.nets.target import ARCHITECTURES
from facecrafter.precision import fast_dtype
from facecrafter.reference import PUBLISHED_CRITIC, PUBLISHED_PRODUCTS, PublishedCrafting, RestartedInversion

ITERATIONS = 500
PARTS, RARE_PARTS = 12, 3
"""Timed in every case: `Case.reference_parts` and `Case.engine_parts`; `Case.rare_parts`."""
PUBLISHED_CALLS = RestartedInversion().steps + PUBLISHED_PRODUCTS
"""Of a whole published iteration, in the bar's units."""
Row = dict[str, Any]
Actions = dict[str, Callable[[], Any]]


@dataclass(frozen=True)
class Sizes:
    """What is timed.

    Args:
        cases: (network, image size, latent size d, batch).
        checked: the first so many cases also time one whole published iteration.
        width: of generator and critic.
        repeats: how many times each part is timed.
    """

    cases: tuple[tuple[str, int, int, int], ...]
    checked: int
    width: int = 64
    repeats: int = 3


_SMALL = (("resnet18", 64, 500, 8), ("vgg16", 64, 500, 8))
QUICK = Sizes((*_SMALL, ("resnet18", 64, 500, 64)), checked=1)
FULL = Sizes(
    (
        *_SMALL,
        ("resnet18", 64, 500, 64),
        ("vgg16", 64, 500, 64),
        *((network, 128, 3000, batch) for network in ("resnet18", "vgg16") for batch in (8, 64)),
    ),
    checked=2,
)


def work(sizes: Sizes) -> int:
    """How much there is to do, in the bar's units."""
    pixels = [batch * size**2 for _, size, _, batch in sizes.cases]
    calls = PARTS * (sizes.repeats + 1) + RARE_PARTS
    return calls * sum(pixels) + PUBLISHED_CALLS * sum(pixels[: sizes.checked])


def rows(sizes: Sizes, bar: tqdm) -> list[Row]:
    """Seconds per image of both algorithms, by part, for every case."""
    return [
        row
        for number, case in enumerate(sizes.cases)
        for row in Case(*case, sizes=sizes, bar=bar).rows(check=number < sizes.checked)
    ]


class Case:
    """All measurements of one network, image size and batch."""

    def __init__(
        self, network: str, image_size: int, latent_dim: int, batch: int, sizes: Sizes, bar: tqdm
    ) -> None:
        self.network, self.image_size, self.latent_dim, self.batch = network, image_size, latent_dim, batch
        self.sizes, self.bar = sizes, bar
        self.random = torch.Generator().manual_seed(0)
        torch.manual_seed(0)
        self.encoder = ARCHITECTURES[network](1).encoder.eval()
        self.generator = Generator1(latent_dim, image_size, sizes.width).eval()
        self.images = torch.rand(batch, 3, image_size, image_size)
        self.z, self.grad_z = torch.randn(2, batch, latent_dim)
        self.features = self.encoder(self.images).detach()
        self.crafting = self.engine()
        self.state = self.crafting.start(self.images, self.random)

    def rows(self, check: bool) -> list[Row]:
        """The table's lines of this case."""
        took = self.medians(self.reference_parts() | self.engine_parts())
        took |= {name: self.seconds(action) for name, action in self.rare_parts().items()}
        reference, engine = published_iteration(took), engine_iteration(took)
        lines = [
            self.row("momentum step", took["momentum step"]),
            self.row("Hessian-vector product", took["product"], took["engine product"]),
            self.row("critic step", took["critic step"]),
            *(self.row(part, reference[part], engine[part]) for part in reference),
            self.row("iteration, assembled", sum(reference.values()), sum(engine.values())),
            self.row(
                f"{ITERATIONS} iterations, assembled",
                ITERATIONS * sum(reference.values()),
                ITERATIONS * sum(engine.values()),
            ),
        ]
        if check:
            whole = self.whole_iteration()
            line = self.row("iteration, measured", whole)
            lines.append(line | {"assembled_over_measured": sum(reference.values()) / whole})
        return lines

    def row(self, part: str, reference: float, engine: float | None = None) -> Row:
        """One line of the table, from seconds for the whole batch."""
        return {
            "case": f"{self.network} {self.image_size}x{self.image_size}, batch {self.batch}",
            "part": part,
            "image_size": self.image_size,
            "network": self.network,
            "latent_dim": self.latent_dim,
            "batch": self.batch,
            "reference_s_per_image": reference / self.batch,
            "engine_s_per_image": engine and engine / self.batch,
            "speedup": reference / engine if engine else None,
            "assembled_over_measured": None,
        }

    def reference_parts(self) -> Actions:
        """One step of each loop of Algorithms 1 and 2, and an iteration without any."""
        one, bare = self.published(steps=1), self.published(steps=0)
        state = bare.start(self.images, self.random)
        at = one.inner_point(self.features, self.z)
        return {
            "momentum step": lambda: one.invert(self.features, self.z),
            "product": lambda: one.inverse_hessian_product(at, self.grad_z),
            "critic step": lambda: state.critic.train(state.critic.average_faces, 1),
            "derivatives": lambda: bare.inner_point(self.features, self.z).mixed(self.grad_z),
            "bare iteration": lambda: bare.step(state),
        }

    def engine_parts(self) -> Actions:
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
            "usual": lambda: self.engine_step(1),
        }

    def rare_parts(self) -> Actions:
        """What a run of the engine does a few times only: timed once. Inversions have one step."""
        return {
            "start": lambda: self.crafting.start(self.images, self.random),
            "first": lambda: self.engine_step(0),
            "fresh": lambda: self.engine_step(self.crafting.inner.refresh),
        }

    def engine(self) -> FeatureCrafting:
        """The engine as it is by default, but for inversions of one Levenberg-Marquardt step."""
        return FeatureCrafting(
            AttackerModel(self.encoder, self.generator, fast_dtype("auto")),
            self.image_size,
            beta=1.0,
            inner=replace(InnerProblem(), first=1),
            critic=replace(CriticTraining(), width=self.sizes.width),
        )

    def engine_step(self, iteration: int) -> None:
        """The engine's iteration of this number."""
        self.state.iteration = iteration
        self.crafting.step(self.state)

    def published(self, steps: int) -> PublishedCrafting:
        """The reference with so many steps in each of its loops."""
        critic = replace(PUBLISHED_CRITIC, steps=steps, width=self.sizes.width)
        inner = RestartedInversion(steps)
        return PublishedCrafting(
            self.encoder, self.generator, self.latent_dim, 1.0, inner=inner, products=steps, critic=critic
        )

    def whole_iteration(self) -> float:
        """Seconds of one iteration with the published numbers."""
        critic = replace(PUBLISHED_CRITIC, width=self.sizes.width)
        crafting = PublishedCrafting(self.encoder, self.generator, self.latent_dim, 1.0, critic=critic)
        state = crafting.start(self.images, self.random)
        return self.seconds(lambda: crafting.step(state), calls=PUBLISHED_CALLS)

    def medians(self, actions: Actions) -> dict[str, float]:
        """The median seconds of each, after a first call that is not counted.

        They take turns, so that a machine that is busy for a while slows down all of them alike.
        """
        rounds = [
            {name: self.seconds(action) for name, action in actions.items()}
            for _ in range(self.sizes.repeats + 1)
        ]
        return {name: median(times[name] for times in rounds[1:]) for name in actions}

    def seconds(self, action: Callable[[], Any], calls: int = 1) -> float:
        """How long it takes; `calls` is its weight in the bar."""
        started = time.perf_counter()
        action()
        taken = time.perf_counter() - started
        self.bar.update(calls * self.batch * self.image_size**2)
        return taken


def published_iteration(took: dict[str, float]) -> dict[str, float]:
    """Seconds of a published iteration by part, from those of its single steps."""
    return {
        "inner solve": RestartedInversion().steps * took["momentum step"],
        "implicit gradient": took["derivatives"] + PUBLISHED_PRODUCTS * took["product"],
        "critic": PUBLISHED_CRITIC.steps * took["critic step"],
        "rest": took["bare iteration"] - took["derivatives"],
    }


def engine_iteration(took: dict[str, float]) -> dict[str, float]:
    """Seconds of the engine's average iteration by part: first and fresh inversions are shared out."""
    inner = InnerProblem()
    refreshes = (ITERATIONS - 1) // inner.refresh
    usual = (ITERATIONS - 1 - refreshes) * took["usual"]
    run = took["start"] + took["first"] + usual + refreshes * took["fresh"]
    inversions, each = (1 + refreshes) * inner.starts, took["marquardt"]
    run += inversions * (inner.first - 1) * each  # one step of each is in `start` and `fresh`
    parts = {
        "inner solve": took["linearisation"]
        + took["response"]
        + inversions * inner.first * each / ITERATIONS,
        "implicit gradient": took["implicit"],
        "critic": took["engine critic"],
    }
    return parts | {"rest": run / ITERATIONS - sum(parts.values())}
