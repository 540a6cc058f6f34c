"""`python -m experiments.bench` on networks of a few channels."""

from __future__ import annotations

import json

import pytest
from conftest import Command

CASES = [["resnet18", 32, 8, 2], ["vgg16", 32, 8, 1]]
SIZES = {"cases": CASES, "checked": 1, "width": 4, "repeats": 1}


@pytest.fixture(scope="module")
def written(command: Command, tmp_path_factory: pytest.TempPathFactory) -> dict:
    output = tmp_path_factory.mktemp("bench") / "crafting.json"
    done = command("bench", "crafting", "--quick", "--sizes", json.dumps(SIZES), "--output", output)
    assert done.returncode == 0, done.stderr
    written = json.loads(output.read_text())
    assert "100%" in done.stderr, "the bar must know how much there is to do"
    for row in written["rows"]:
        assert row["case"] in done.stdout
        assert row["part"] in done.stdout
    return written


def column(written: dict, case: int, name: str) -> dict[str, float]:
    """The named column of one case, by part."""
    network, *_, batch = CASES[case]
    rows = [row for row in written["rows"] if (row["network"], row["batch"]) == (network, batch)]
    return {row["part"]: row[name] for row in rows}


def test_the_json_says_what_was_measured_and_with_what(written: dict) -> None:
    assert set(written) == {"machine", "versions", "rows"}
    assert written["machine"]["threads"] == 1
    assert "torch" in written["versions"]
    columns = {"case", "part", "image_size", "network", "latent_dim", "batch"}
    columns |= {"reference_s_per_image", "engine_s_per_image", "speedup", "assembled_over_measured"}
    assert all(set(row) == columns for row in written["rows"])
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
def test_a_whole_published_iteration_checks_the_sum_of_the_first_case(written: dict) -> None:
    reference, ratio = (
        column(written, 0, name) for name in ("reference_s_per_image", "assembled_over_measured")
    )
    quotient = reference["iteration, assembled"] / reference["iteration, measured"]
    assert ratio["iteration, measured"] == pytest.approx(quotient)
    assert "iteration, measured" not in column(written, 1, "part")


def test_an_unknown_bench_names_those_there_are(command: Command) -> None:
    done = command("bench", "speed")
    assert done.returncode != 0
    assert "crafting" in done.stderr
