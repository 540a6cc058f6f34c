"""The quality part: what is compared at equal utility, and that a study's results are read as written."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import ROOT
from tiny_study import model, tiny_study, write

from experiments.bench import __main__ as bench
from experiments.bench.quality import ENGINE, PUBLISHED, Point, frontier, read_points
from experiments.report.results import Results
from experiments.study.config import load
from facecrafter.metrics import Interval
from facecrafter.store import TensorStore

IDENTITIES = torch.arange(40) // 2


def point(defence: str, hits: int, loss: float, auc: float, epsilon: float = 0.0) -> Point:
    correct = torch.arange(40) < hits
    measured = {"eval_acc": hits / 40, "auc": auc, "epsilon": epsilon}
    return Point(
        defence,
        f"beta={loss}",
        "white_box",
        "judge",
        correct,
        IDENTITIES,
        Interval(loss, loss, loss),
        1.0,
        measured,
    )


@pytest.mark.strict
def test_the_engine_is_read_between_its_neighbours_at_equal_utility() -> None:
    """Linear on either axis: at L_u = 0.25 a quarter of the way, at an AUC of 0.9 half of it."""
    engine = [point("none", 40, 0.0, 1.0, 1.0), point(ENGINE, 20, 1.0, 0.8, 3.0)]
    by_loss, by_auc = frontier([*engine, point(PUBLISHED, 30, 0.25, 0.9)])
    assert by_loss["engine_eval_acc"] == pytest.approx(0.75 * 1 + 0.25 * 0.5)
    assert by_loss["engine_epsilon"] == pytest.approx(1.5)
    assert by_auc["engine_eval_acc"] == pytest.approx(0.75)
    assert by_auc["engine_epsilon"] == pytest.approx(2.0)
    assert by_loss["published_eval_acc"] == 0.75
    assert by_loss["difference"] == pytest.approx(0.875 - 0.75)


@pytest.mark.strict
@pytest.mark.parametrize(("hits", "verdict"), [(10, "better"), (30, "none shown"), (40, "worse")])
def test_a_verdict_needs_an_interval_that_excludes_no_difference(hits: int, verdict: str) -> None:
    engine = [point(ENGINE, hits, 0.0, 1.0), point(ENGINE, hits, 1.0, 0.8)]
    for row in frontier([*engine, point(PUBLISHED, 30, 0.5, 0.9)]):
        assert row["verdict"] == verdict
        assert row["difference_lo"] <= row["difference"] <= row["difference_hi"]
        assert row["difference"] == pytest.approx((hits - 30) / 40)


def test_nothing_is_extrapolated() -> None:
    engine = [point("none", 40, 0.0, 1.0), point(ENGINE, 20, 1.0, 0.8)]
    assert not list(frontier([*engine, point(PUBLISHED, 5, 1.5, 0.7)]))


def test_attacks_and_judges_are_not_mixed() -> None:
    other = point(ENGINE, 0, 1.0, 0.8)._replace(attack="black_box")
    engine = [point("none", 40, 0.0, 1.0), point(ENGINE, 20, 1.0, 0.8)]
    rows = list(frontier([other, *engine, point(PUBLISHED, 20, 1.0, 0.8)]))
    assert [row["engine_eval_acc"] for row in rows] == [0.5, 0.5]


def store(folder: Path, features: torch.Tensor) -> None:
    """Features of four images, in two batches that are not in the order of rows."""
    meta = {"kind": "features", "shape": [2, 1, 1], "dtype": "float32", "encoder": "e", "batches": 2}
    written = TensorStore.create(folder / "features", meta)
    for number, rows in enumerate(([3, 1], [0, 2])):
        written.write(number, row=torch.tensor(rows), features=features[rows])
    (folder / "stage.json").write_text(json.dumps({"seconds": 8.0}))


@pytest.mark.strict
def test_utility_loss_is_the_mean_square_change_of_a_features_elements(tmp_path: Path) -> None:
    raw = torch.randn(4, 2, 1, 1)
    moved = raw + torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1, 1)
    store(tmp_path / "none", raw)
    store(tmp_path / f"{ENGINE}.beta=1", moved)
    stages = [{"name": name, "folder": name} for name in ("none", f"{ENGINE}.beta=1")]
    common = {
        "attack": "black_box",
        "trial": "black_box",
        "oracle": "judge",
        "restart": "best",
        "curve_only": False,
        "epsilon": 0.1,
    }
    common |= dict.fromkeys(
        ("epsilon", "eval_acc", "eval_acc_lo", "eval_acc_hi", "auc", "auc_lo", "auc_hi"), 0.5
    )
    keys = [{"defence": "none", "strength": ""}, {"defence": ENGINE, "strength": "beta=1"}]
    images = [
        {**key, **common, "row": row, "identity": row // 2, "correct": row == 3}
        for key in keys
        for row in (2, 0, 3, 1)
    ]
    rows = pd.DataFrame([{**key, **common} for key in keys])
    found = list(read_points(Results(tmp_path, {}, stages, rows, pd.DataFrame(images), [])))
    assert [loss.utility_loss.value for loss in found] == pytest.approx([0.0, (1 + 4 + 9 + 16) / 4])
    assert [point.seconds_per_image for point in found] == [2.0, 2.0]
    assert found[1].correct.tolist() == [False, False, False, True]
    assert found[1].identities.tolist() == [0, 0, 1, 1]


def test_the_configuration_pits_both_on_the_same_terms() -> None:
    """As many iterations at the same learning rate, on the same images and networks."""
    config = load(ROOT / "experiments" / "configs" / "bench-quality.yaml")
    assert set(config.defences) == {"none", ENGINE, PUBLISHED}
    engine, published = (config.defences[name].model["init_args"] for name in (ENGINE, PUBLISHED))
    for name in ("target", "prior", "iterations", "learning_rate"):
        assert engine[name] == published[name]
    assert set(config.attacks) == {"white_box", "white_box_amortized", "black_box"}
    assert config.data["init_args"]["predict_limit"] == 100


@pytest.mark.slow
def test_a_study_of_both_becomes_rows(tmp_path: Path) -> None:
    config = tiny_study()
    small = {"iterations": 1, "critic": {"width": 4, "steps": 1, "warmup": 0, "batch": 2}}
    networks = {"target": "${target}", "prior": "${prior}"}
    prior = model("Prior", latent_dim=8, image_size=32, width=4, critic_width=4)
    config["fits"]["prior"] = {"model": prior}
    config["measure"] = {"prior": "${prior}"}
    config["defences"] = {
        "none": config["defences"]["none"],
        ENGINE: {
            "model": model("Crafter", **networks, **small, inner={"first": 1, "starts": 1}),
            "strengths": {"beta": [1]},
        },
        PUBLISHED: {
            "model": model("PublishedCrafter", **networks, **small, inner={"steps": 1}, products=1),
            "strengths": {"beta": [0.5]},
        },
    }
    sizes = {
        "quality": {"config": str(write(config, tmp_path / "c.yaml")), "output": str(tmp_path / "study")}
    }
    output = tmp_path / "bench.json"
    bench.main(["crafting", "--parts", "quality", "--sizes", json.dumps(sizes), "--output", str(output)])
    rows = json.loads(output.read_text())["rows"]
    points = [row for row in rows if "defence" in row]
    assert {(row["defence"], row["strength"]) for row in points} == {
        ("none", ""),
        (ENGINE, "beta=1"),
        (PUBLISHED, "beta=0.5"),
    }
    assert {row["case"] for row in points} == {"black_box judged by classifier"}
    assert all(math.isfinite(row["utility_loss"]) and row["seconds_per_image"] > 0 for row in points)
