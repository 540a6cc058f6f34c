"""What faults are done to: a small study, and fits of every module that is trained and of Crafter."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from every_module import CASES, NARROW, TARGET, config
from safetensors.torch import load
from tiny_study import DATA, TRAINER, model, write
from toy_rivals import toy_tail

from experiments import fit
from experiments.study.__main__ import main as run_study
from facecrafter.store import content_hash
from lightning_modules.defences import tiprdc

SMALL = {"iterations": 2, "inner": {"first": 2, "starts": 1}, "critic": {"steps": 1, "width": 4}}
CRAFTER = model("Crafter", target="${target}", prior="${prior}", **SMALL)
TRAINED = TRAINER | {"max_epochs": 2, "enable_progress_bar": False}
PEOPLE = {**DATA, "init_args": DATA["init_args"] | {"private_identities": 6, "batch_size": 6}}
TIMES = {"seconds"}
"""What no two runs have in common: how long they took."""

Numbers = dict[str, str]
"""A hash of every number that a run left, by what holds it."""


def study() -> dict[str, Any]:
    """Two networks, a judge, two defences, an attack: ten stages."""
    return {
        "name": "tiny",
        "dataset": "synthetic",
        "network": "toy",
        "data": PEOPLE,
        "trainer": TRAINED,
        "fits": {
            "target": {"model": model("TargetNetwork", **TARGET)},
            "decoder": {"model": model("Decoder", encoder="${target}", image_size=32, width=4, blocks=1)},
            "classifier": {
                "model": model("IdentityClassifier", trunk=NARROW),
                "data": {"fit_role": "private_train"},
            },
        },
        "oracles": {"classifier": "${classifier}"},
        "defences": {
            "none": {"model": model("Undefended", target="${target}")},
            "noise": {
                "model": model("GaussianNoise", target="${target}"),
                "strengths": {"sigma": [1.0]},
            },
        },
        "attacks": {
            "black_box": {
                "class_path": "facecrafter.attacks.BlackBox",
                "networks": {"decoder": "${decoder}"},
            }
        },
    }


def start_study(folder: Path) -> None:
    """Run the study into `folder`/study, or go on with it."""
    config = write(study(), folder / "study.yaml")
    run_study(["--config", str(config), "--output", str(folder / "study"), "--no-preflight", "--jobs", "1"])


def fits(inputs: Path) -> dict[str, Callable[[Path], None]]:
    """By name, what fits every module that is trained, and Crafter, into a folder, or goes on with it there.

    Args:
        inputs: folder with what they build on; see `every_module`.
    """

    def starter(name: str, case: dict[str, Any]) -> Callable[[Path], None]:
        def start(folder: Path) -> None:
            tiprdc.resnet18_tail = toy_tail
            line = config(folder / f"{name}.yaml", inputs, case, max_epochs=2, enable_progress_bar=False)
            fit.main(["--config", str(line), "--output", str(folder / name)])

        return start

    return {name: starter(name, case) for name, case in (CASES | {"Crafter": {"model": CRAFTER}}).items()}


def numbers(folder: Path) -> Numbers:
    """Of everything below `folder`: weights, features, reconstructions, rows of results."""
    found = {}
    for path in sorted(folder.rglob("*.safetensors")):
        tensors = {name: value for name, value in load(path.read_bytes()).items() if name not in TIMES}
        found[str(path.relative_to(folder))] = content_hash(tensors)
    for path in sorted(folder.rglob("results.csv")):
        table = pd.read_csv(path, dtype=str)
        text = table.drop(columns=[name for name in table if name in TIMES]).to_csv()
        found[str(path.relative_to(folder))] = hashlib.sha256(text.encode()).hexdigest()
    for path in sorted(folder.rglob("results.json")):
        rows = [
            {name: value for name, value in row.items() if name not in TIMES}
            for row in json.loads(path.read_text())
        ]
        found[str(path.relative_to(folder))] = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    return found
