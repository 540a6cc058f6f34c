"""`python -m experiments.bench` on networks of a few channels."""

from __future__ import annotations

import json

import pytest
from conftest import Command

SIZES = {"batches": [2], "width": 4, "image_size": 32, "latent_dim": 8, "repeats": 1}


@pytest.fixture(scope="module")
def written(command: Command, tmp_path_factory: pytest.TempPathFactory) -> dict:
    output = tmp_path_factory.mktemp("bench") / "crafting.json"
    done = command("bench", "crafting", "--quick", "--sizes", json.dumps(SIZES), "--output", output)
    assert done.returncode == 0, done.stderr
    written = json.loads(output.read_text())
    assert "left=" in done.stderr
    assert [row["case"] for row in written["rows"] if row["case"] not in done.stdout] == []
    return written


def test_the_json_says_what_was_measured_and_with_what(written: dict) -> None:
    assert set(written) == {"machine", "versions", "rows"}
    assert written["machine"]["threads"] == 1
    assert "torch" in written["versions"]
    columns = {"case", "reference_s_per_image", "engine_s_per_image", "speedup"}
    assert all(set(row) == columns for row in written["rows"])


@pytest.mark.strict
def test_the_published_run_is_the_sum_of_its_timed_parts(written: dict) -> None:
    """A speedup is only as honest as what it is taken against: 500 x (80 inner + 150 Hessian + 10 critic)."""
    rows = {row["case"].partition(": ")[2]: row for row in written["rows"]}
    reference = {name: row["reference_s_per_image"] for name, row in rows.items()}
    parts = (
        80 * reference["inner momentum step"]
        + 150 * reference["Hessian product, float32"]
        + 10 * reference["critic step of 2"]
    )
    assert reference["500 iterations"] == pytest.approx(500 * parts)
    whole = rows["500 iterations"]
    assert whole["speedup"] == pytest.approx(whole["reference_s_per_image"] / whole["engine_s_per_image"])
    engine = {name: row["engine_s_per_image"] for name, row in rows.items()}
    expected = (
        engine["first inversion"] + 491 * engine["iteration"] + 9 * engine["iteration with fresh inversion"]
    )
    assert engine["500 iterations"] == pytest.approx(expected)


def test_an_unknown_bench_names_those_there_are(command: Command) -> None:
    done = command("bench", "speed")
    assert done.returncode != 0
    assert "crafting" in done.stderr
