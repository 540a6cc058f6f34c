"""`python -m experiments.bench` on networks of a few channels."""

from __future__ import annotations

import json
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

import pytest

from experiments.bench import __main__ as bench
from experiments.bench import cost as bench_cost
from experiments.bench.iterations import ITERATIONS, engine_iteration
from facecrafter.crafter.critic import CriticTraining
from facecrafter.crafter.inversion import InnerProblem

CASES = [["resnet18", 32, 8, 2, 1, True], ["vgg16", 32, 8, 1, 1]]
SIZES = {"cost": {"cases": CASES, "width": 4}}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict:
    output = tmp_path_factory.mktemp("bench") / "crafting.json"
    line = ("crafting", "--parts", "cost", "--sizes", json.dumps(SIZES), "--output", str(output))
    with redirect_stdout(StringIO()) as shown, redirect_stderr(StringIO()) as progress:
        bench.main(line)
    written = json.loads(output.read_text())
    assert "100%" in progress.getvalue(), "the bar must know how much there is to do"
    for row in written["rows"]:
        assert row["case"] in shown.getvalue()
        assert row["step"] in shown.getvalue()
    return written


def column(written: dict, case: int, name: str) -> dict[str, float]:
    """The named column of one case, by step."""
    network, _, _, batch, *_ = CASES[case]
    rows = [row for row in written["rows"] if (row["network"], row["batch"]) == (network, batch)]
    return {row["step"]: row[name] for row in rows}


def test_the_json_says_what_was_measured_and_with_what(written: dict) -> None:
    assert set(written) == {"machine", "versions", "rows"}
    assert written["machine"]["threads"] == 1
    assert "torch" in written["versions"]
    columns = {"part", "case", "step", "image_size", "network", "latent_dim", "batch"}
    columns |= {"reference_s_per_image", "engine_s_per_image", "speedup", "assembled_over_measured"}
    assert all(set(row) == columns for row in written["rows"])
    assert {row["part"] for row in written["rows"]} == {"cost"}
    assert {(row["image_size"], row["latent_dim"]) for row in written["rows"]} == {(32, 8)}


@pytest.mark.strict
@pytest.mark.parametrize("case", [0, 1])
def test_the_published_iteration_is_made_of_its_timed_steps(written: dict, case: int) -> None:
    """A speedup is only as honest as what it is taken against: 80 momentum steps, 150 products, 10 critic."""
    reference = column(written, case, "reference_s_per_image")
    assert reference["inner solve"] == pytest.approx(80 * reference["momentum step"])
    assert reference["critic"] == pytest.approx(10 * reference["critic step"])
    assert reference["implicit gradient"] > 150 * reference["Hessian-vector product"]


@pytest.mark.strict
@pytest.mark.parametrize("case", [0, 1])
@pytest.mark.parametrize("side", ["reference_s_per_image", "engine_s_per_image"])
def test_a_run_is_the_sum_of_its_parts(written: dict, case: int, side: str) -> None:
    took = column(written, case, side)
    parts = sum(took[part] for part in ("inner solve", "implicit gradient", "critic", "rest"))
    assert took["iteration, assembled"] == pytest.approx(parts)
    assert took["500 iterations, assembled"] == pytest.approx(500 * parts)


@pytest.mark.strict
def test_speedups_are_the_quotients_of_their_rows(written: dict) -> None:
    for row in written["rows"]:
        if row["engine_s_per_image"] is not None:
            quotient = row["reference_s_per_image"] / row["engine_s_per_image"]
            assert row["speedup"] == pytest.approx(quotient)


@pytest.mark.strict
def test_a_whole_published_iteration_checks_the_sum_where_it_is_asked_for(written: dict) -> None:
    reference, ratio = (
        column(written, 0, name) for name in ("reference_s_per_image", "assembled_over_measured")
    )
    quotient = reference["iteration, assembled"] / reference["iteration, measured"]
    assert ratio["iteration, measured"] == pytest.approx(quotient)
    assert "iteration, measured" not in column(written, 1, "step")


TOOK = {
    "start": 100.0,
    "first": 20.0,
    "usual": 10.0,
    "fresh": 30.0,
    "marquardt": 5.0,
    "linearisation": 1.0,
    "response": 2.0,
    "implicit": 3.0,
    "engine critic": 2.0,
}


@pytest.mark.strict
@pytest.mark.parametrize(("refresh", "fresh"), [(0, 0), (100, 4), (499, 1), (500, 0)])
def test_an_engines_run_shares_out_its_inversions(refresh: int, fresh: int) -> None:
    """Iterations that invert afresh are those that `FeatureCrafting.step` takes; 0 means none. Its critic
    has 40 steps of warm-up, at a second each."""
    inner, critic = InnerProblem(first=3, starts=2, refresh=refresh), CriticTraining(steps=2, warmup=40)
    parts = engine_iteration(TOOK, inner, critic)
    run = 100 + 20 + (499 - fresh) * 10 + fresh * 30 + (1 + fresh) * 2 * (3 - 1) * 5 + 40
    assert sum(parts.values()) == pytest.approx(run / ITERATIONS)
    assert parts["inner solve"] == pytest.approx(1 + 2 + (1 + fresh) * 2 * 3 * 5 / ITERATIONS)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["speed"], "crafting"),
        (["crafting", "--parts", "cost,speed"], "no part 'speed'; its parts are cost, efficiency"),
        (["crafting", "--quick", "--parts", "quality"], "quality has no quick form"),
    ],
)
def test_what_there_is_not_is_named(
    line: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        bench.parse(line)
    assert message in capsys.readouterr().err


def test_the_quick_form_leaves_quality_out_and_the_full_one_nothing() -> None:
    assert set(bench.parse(["crafting", "--quick"]).sizes) == {"cost", "efficiency", "scaling"}
    full = bench.parse(["crafting"]).sizes
    assert list(full) == ["cost", "efficiency", "scaling", "quality"]
    assert full["cost"] == bench_cost.FULL
