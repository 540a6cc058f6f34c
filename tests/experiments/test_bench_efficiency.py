"""The efficiency part on networks of a few channels: layers must add up to what the engine really does."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from tqdm import tqdm

from experiments.bench.efficiency import Measured, Sizes, rows
from experiments.bench.layers import CRITIC_STEP, FORWARD, JVP, VJP, WHOLE, Task, calls
from experiments.bench.timing import Row, tables
from experiments.bench.work import Product, Work
from facecrafter.crafter.crafting import FeatureCrafting
from facecrafter.crafter.critic import CriticTraining
from facecrafter.crafter.health import HealthCheck
from facecrafter.crafter.inversion import AttackerModel, InnerProblem, Response
from facecrafter.crafter.jacobian import Linearization
from facecrafter.nets.generator import Generator1
from facecrafter.nets.target import resnet18

SIZES = Sizes(
    image_size=32,
    latent_dim=8,
    width=4,
    batch=4,
    critic_batch=2,
    side=128,
    repeats=1,
)


@pytest.fixture(scope="module")
def found() -> list[Row]:
    with tqdm(total=0, disable=True) as bar:
        found = rows(SIZES, bar, torch.device("cpu"))
    assert all("case" in row for row in found)
    return found


def layers(found: list[Row], precision: str = "float32") -> list[Row]:
    return [row for row in found if row.get("precision") == precision and row["layer"] not in WHOLE]


@pytest.mark.strict
@pytest.mark.parametrize("operation", [FORWARD, JVP, VJP, CRITIC_STEP])
def test_the_layers_do_the_products_of_the_whole(found: list[Row], operation: str) -> None:
    """A layer that is left out, or timed on another shape, would spoil the ranking unseen."""
    parts = sum(row["gflop"] for row in layers(found) if row["operation"] == operation)
    whole = [
        row["gflop"]
        for row in found
        if row.get("precision") == "float32" and row["operation"] == operation and row["layer"] in WHOLE
    ]
    assert [parts] == pytest.approx(whole, rel=1e-9)


@pytest.mark.strict
def test_fractions_are_of_the_measured_peak(found: list[Row]) -> None:
    for row in layers(found):
        assert row["of_peak"] == pytest.approx(row["gflop_s"] / row["peak_gflop_s"])
        assert row["gflop_s"] == pytest.approx(1e3 * row["gflop"] / row["ms"])
        assert row["gbyte_s"] == pytest.approx(row["mbyte"] / row["ms"])
        assert row["ms_copy"] == pytest.approx(row["mbyte"] / row["copy_gbyte_s"])
        assert row["ms_lost"] == pytest.approx(row["calls"] * row["ms"] * (1 - row["of_peak"]))


@pytest.mark.strict
def test_the_three_layers_that_lose_most_are_marked_and_explained(found: list[Row]) -> None:
    lines = layers(found)
    marked = sorted((row for row in lines if row["worst"]), key=lambda row: row["worst"])
    assert [row["worst"] for row in marked] == [1, 2, 3]
    assert [row["ms_lost"] for row in marked] == sorted((row["ms_lost"] for row in lines), reverse=True)[:3]
    shown = "\n".join(tables(found))
    for row in lines:
        assert bool(row["explanation"]) == bool(row["worst"])
        assert not row["explanation"] or row["explanation"] in shown


@pytest.mark.parametrize(
    ("products", "copy", "flops", "expected"),
    [
        (0.1, 0.8, 5, "memory"),
        (0.0, 0.6, 0, "memory"),
        (0.9, 0.05, 20, "small product"),
        (0.9, 0.1, 85, "near the peak"),
        (0.25, 0.2, 25, "kernel"),
        (0.0, 0.3, 0, "kernel"),
    ],
)
def test_a_limit_is_where_most_of_the_lost_time_goes(
    products: float, copy: float, flops: int, expected: str
) -> None:
    """A layer that takes a second on a machine of 100 FLOP/s."""
    work = Work()
    work.products[Product(1, 1, 1, 1)] = flops // 2
    measured = Measured(Task("layer", FORWARD, lambda: None), 1, work, 1.0, products, copy, peak=100.0)
    at_peak = 2 * (flops // 2) / 100
    assert measured.of_peak == pytest.approx(at_peak)
    assert sum(measured.losses.values()) == pytest.approx(1 - at_peak)
    assert measured.limit == expected


class Counting(AttackerModel):
    """Counts what it and its derivative are asked for."""

    asked: Counter[str]

    def __call__(self, z: torch.Tensor) -> Response:
        at = super().__call__(z)
        return at._replace(
            d_phi=Linearization(self._counted(JVP, at.d_phi.jvp), self._counted(VJP, at.d_phi.vjp))
        )

    def _counted(self, name: str, product):
        def call(v: torch.Tensor) -> torch.Tensor:
            self.asked[name] += 1
            return product(v)

        return call


@pytest.mark.strict
def test_calls_are_those_of_a_real_iteration() -> None:
    """The worst layers are ranked by what they lose in an iteration."""
    model = Counting(resnet18(3).encoder.eval(), Generator1(8, 32, width=4).eval())
    model.asked = Counter()
    crafting = FeatureCrafting(
        model,
        1.0,
        inner=InnerProblem(first=1, starts=1),
        critic=CriticTraining(width=4, warmup=0),
        health=HealthCheck(every=0),
    )
    state = crafting.start(torch.rand(2, 3, 32, 32), torch.Generator().manual_seed(0))
    model.asked.clear()
    before = state.critic.steps
    crafting.step(state)
    asked = {FORWARD: 1, **model.asked, CRITIC_STEP: state.critic.steps - before}
    assert asked == calls(torch.float32)
    assert calls(torch.bfloat16) == asked | {FORWARD: 0}
