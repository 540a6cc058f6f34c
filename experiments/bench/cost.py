"""What a protected image costs: Crafter's engine against the published algorithm, on the paper's sizes.

The published cost is assembled from the medians of its parts (`experiments.bench.iterations`); a whole
iteration checks the sum. Both count 500 iterations: this compares what an iteration costs, not how many each
needs.

The split of an iteration: `inner solve` is line 3 of Algorithm 1 with the engine's share of first and fresh
inversions, `implicit gradient` lines 11 and 12, `critic` lines 4 to 9; `rest` is what remains: line 10, Adam
on F, metrics and the engine's health checks.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import torch
from tqdm import tqdm

from experiments.bench.iterations import ITERATIONS, Batch, Seconds, engine_iteration, published_iteration
from experiments.bench.timing import Row, Stopwatch
from facecrafter.crafter.critic import CriticTraining
from facecrafter.crafter.inversion import InnerProblem
from facecrafter.crafter.reference import PUBLISHED_PRODUCTS, RestartedInversion

PARTS, RARE_PARTS = 13, 3
"""Timed in every case: `Batch.reference_parts` and `Batch.engine_parts`; `Batch.rare_parts`."""
PUBLISHED_CALLS = RestartedInversion().steps + PUBLISHED_PRODUCTS
"""The length of a whole published iteration, in the bar's units."""


class Case(NamedTuple):
    """One batch of one network.

    Args:
        network: whose encoder makes the features.
        image_size: H = W.
        latent_dim: d.
        batch: number of images.
        repeats: how many times each part is timed, after a first time that is not counted.
        checked: whether a whole published iteration is timed too.
    """

    network: str
    image_size: int
    latent_dim: int
    batch: int
    repeats: int
    checked: bool = False

    @property
    def name(self) -> str:
        return f"{self.network} {self.image_size}x{self.image_size}, batch {self.batch}"

    @property
    def pixels(self) -> int:
        """What one call of a part costs for all images, in the bar's units."""
        return self.batch * self.image_size**2

    @property
    def work(self) -> int:
        """All of the case, in the bar's units."""
        calls = PARTS * (self.repeats + 1) + RARE_PARTS + PUBLISHED_CALLS * self.checked
        return calls * self.pixels


@dataclass(frozen=True)
class Sizes:
    """What is timed.

    Args:
        cases: one after the other.
        width: of generator and critic.
    """

    cases: tuple[Case, ...]
    width: int = 64


QUICK = Sizes((Case("resnet18", 64, 500, 8, 3, checked=True), Case("vgg16", 64, 500, 8, 1)))
FULL = Sizes(
    (
        Case("resnet18", 64, 500, 8, 3, checked=True),
        Case("resnet18", 64, 500, 64, 3),
        Case("vgg16", 64, 500, 8, 3),
        Case("vgg16", 64, 500, 64, 2),
        Case("resnet18", 128, 3000, 8, 2),
        Case("resnet18", 128, 3000, 64, 1),
        Case("vgg16", 128, 3000, 8, 2),
        Case("vgg16", 128, 3000, 64, 1),
    )
)


def rows(sizes: Sizes, bar: tqdm, device: torch.device) -> list[Row]:
    """Seconds per image of both algorithms, by part, for every case."""
    cases = [Case(*case) for case in sizes.cases]
    bar.reset(total=sum(case.work for case in cases))
    return [row for case in cases for row in _case(case, sizes.width, Stopwatch(bar, device))]


def _case(case: Case, width: int, watch: Stopwatch) -> list[Row]:
    """The table's lines of one case."""
    batch = Batch(case.network, case.image_size, case.latent_dim, case.batch, width, watch.device)
    took = _time(batch, case, watch)
    reference, engine = published_iteration(took), engine_iteration(took, InnerProblem(), CriticTraining())
    whole_reference, whole_engine = sum(reference.values()), sum(engine.values())
    lines = [
        _row(case, "momentum step", took["momentum step"]),
        _row(case, "Hessian-vector product", took["product"], took["engine product"]),
        _row(case, "critic step", took["critic step"]),
        *(_row(case, part, reference[part], engine[part]) for part in reference),
        _row(case, "iteration, assembled", whole_reference, whole_engine),
        _row(
            case,
            f"{ITERATIONS} iterations, assembled",
            ITERATIONS * whole_reference,
            ITERATIONS * whole_engine,
        ),
    ]
    if case.checked:
        measured = watch.seconds(batch.whole_published_iteration(), PUBLISHED_CALLS * case.pixels)
        line = _row(case, "iteration, measured", measured)
        lines.append(line | {"assembled_over_measured": whole_reference / measured})
    return lines


def _time(batch: Batch, case: Case, watch: Stopwatch) -> Seconds:
    """The median seconds of every part; those of the rare ones are of a single call."""
    parts = batch.reference_parts() | batch.engine_parts()
    took = {name: median(times) for name, times in watch.in_turns(parts, case.repeats, case.pixels).items()}
    return took | {name: watch.seconds(action, case.pixels) for name, action in batch.rare_parts().items()}


def _row(case: Case, step: str, reference: float, engine: float | None = None) -> Row:
    """One line of the table, from seconds for the whole batch."""
    return {
        "case": case.name,
        "step": step,
        "image_size": case.image_size,
        "network": case.network,
        "latent_dim": case.latent_dim,
        "batch": case.batch,
        "reference_s_per_image": reference / case.batch,
        "engine_s_per_image": engine and engine / case.batch,
        "speedup": reference / engine if engine else None,
        "assembled_over_measured": None,
    }
