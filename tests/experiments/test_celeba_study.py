"""The whole comparison on a tiny CelebA: both attacks, both players, and results that can be true."""

from __future__ import annotations

import csv
import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_faces import fake_celeba
from tiny_study import TRAINER, model, write

from experiments.study import carry_out
from facecrafter.nets.identity import MobileFaceNet

PEOPLE = 4


def celeba_study(root: Path, weights: Path) -> dict[str, Any]:
    """Undefended and Crafter, white-box and black-box, judged by a classifier and an embedding."""
    prior = {"image_size": 32, "latent_dim": 8, "width": 4, "critic_width": 4}
    crafter = {
        "iterations": 2,
        "inner": {"first": 2, "starts": 1},
        "critic": {"steps": 1, "width": 4},
    }
    sizes = {"image_size": 32, "private_identities": PEOPLE, "batch_size": 8, "manifest_batch_size": 3}
    return {
        "name": "tiny",
        "dataset": "celeba",
        "network": "resnet18",
        "data": {"class_path": "datamodules.CelebA", "init_args": {"root": str(root), **sizes}},
        "trainer": TRAINER,
        "fits": {
            "target": {"model": model("TargetNetwork", n_outputs=40, arch="resnet18_quarter")},
            "prior": {"model": model("Prior", **prior)},
            "decoder": {"model": model("Decoder", encoder="${target}", image_size=32, width=8, blocks=1)},
            "classifier": {
                "model": model("IdentityClassifier", n_identities=PEOPLE, trunk="resnet18_quarter"),
                "data": {"fit_role": "private_train"},
            },
        },
        "oracles": {
            "classifier": "${classifier}",
            "embedding": model("EmbeddingOracle", weights=str(weights)),
        },
        "defences": {
            "none": {"model": model("Undefended", target="${target}")},
            "crafter": {
                "model": model("Crafter", target="${target}", prior="${prior}", **crafter),
                "strengths": {"beta": [2.0]},
            },
        },
        "attacks": {
            "white_box": {
                "class_path": "facecrafter.attacks.WhiteBox",
                "init_args": {"iterations": 2, "restarts": 2},
                "networks": {"prior": "${prior}"},
            },
            "black_box": {
                "class_path": "facecrafter.attacks.BlackBox",
                "networks": {"decoder": "${decoder}"},
            },
        },
        "measure": {"prior": "${prior}"},
    }


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that was run from start to end."""
    folder = tmp_path_factory.mktemp("celeba")
    torch.save(MobileFaceNet().state_dict(), folder / "mobilefacenet.pt")
    config = celeba_study(fake_celeba(folder / "celeba"), folder / "mobilefacenet.pt")
    assert carry_out.run(write(config, folder / "celeba.yaml"), folder / "study", try_first=False) == 0
    return folder / "study"


def results(study: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((study / "results.csv").open()))


@pytest.mark.slow
def test_there_is_one_row_per_defence_oracle_attack_and_restart(study: Path) -> None:
    rows = results(study)
    attacks = [("white_box", restart) for restart in ("0", "1", "best")]
    attacks += [("black_box", restart) for restart in ("0", "best")]
    points = product(("none", "crafter"), ("classifier", "embedding"), attacks)
    expected = {(defence, oracle, *attack) for defence, oracle, attack in points}
    assert {(row["defence"], row["oracle"], row["attack"], row["restart"]) for row in rows} == expected
    assert len(rows) == len(expected)
    for row in rows:
        assert (row["dataset"], row["n_images"], row["n_identities"]) == ("celeba", "4", str(PEOPLE))
        assert row["access"] == row["attack"].removesuffix("_box")
        assert row["strength"] == ("beta=2.0" if row["defence"] == "crafter" else "")


def ascend(row: dict[str, str], low: float, *names: str) -> bool:
    """Whether the named cells ascend within [low, 1], but for rounding."""
    values = [low, *(float(row[name]) for name in names), 1 + 1e-6]
    return values == sorted(values)


@pytest.mark.slow
def test_every_figure_can_be_true(study: Path) -> None:
    for row in results(study):
        assert ascend(row, 0, "eval_acc_lo", "eval_acc", "eval_acc_hi")
        assert ascend(row, 0, "eval_acc", "top5")
        assert ascend(row, 0, "auc_lo", "auc", "auc_hi")
        assert ascend(row, 0, "clean_acc")
        assert ascend(row, -1, "ssim")
        assert ascend(row, -1, "fsim")
        assert min(float(row[name]) for name in ("epsilon", "epsilon_null", "seconds")) > 0


@pytest.mark.slow
def test_every_stage_has_a_log_and_crafter_one_of_its_iterations(study: Path) -> None:
    folders = [study / stage["folder"] for stage in json.loads((study / "plan.json").read_text())]
    assert len(folders) == 17
    assert all((folder / "stage.log").is_file() for folder in folders)
    iterations = next(study.glob("artifacts/crafter.beta=2.0-*/logs/iterations-rank0.csv"))
    assert len(list(csv.DictReader(iterations.open()))) == 2 * 2, "two batches of two iterations"
