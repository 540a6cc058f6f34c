"""Measure what one attack reconstructed from one store of features.

    python -m experiments.measure --config C.yaml

    data: {class_path: datamodules.SyntheticFaces, init_args: {image_size: 64}}
    defence: artifacts/crafter                   # its head reads the attributes from the features
    features: artifacts/crafter/features
    reconstructions: artifacts/white_box
    oracles: {classifier: {artifact: artifacts/oracle}}   # or {class_path: ..., init_args: ...}
    prior: artifacts/prior                       # what average faces look like, for epsilon
    labels: {defence: crafter, strength: beta=1, attack: white_box, access: white}
    output: artifacts/measure                    # receives results.json and per_image.csv

There is one row per oracle and restart, and one for `best`: each image's restart of the attack's own lowest
loss.
"""

from __future__ import annotations

import csv
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonargparse import auto_cli

from datamodules.faces import FaceDataModule
from experiments.attack import check_encoder
from experiments.evaluation import (
    Faces,
    Judge,
    Likeness,
    Verdict,
    check_same_features,
    perceptual_distances,
    read_restarts,
    utility,
)
from facecrafter.metrics import Lpips
from facecrafter.store import TensorStore
from lightning_modules.artifacts import load_artifact
from lightning_modules.defence import Defence
from lightning_modules.oracle import IdentityOracle
from lightning_modules.prior import Prior

LABELS = (
    *("dataset", "scenario", "network", "defence", "strength", "attack", "access"),
    *("adaptive", "countermeasure", "epoch", "budget"),
)


@dataclass
class TrainedOracle:
    """An oracle that a fit trained.

    Args:
        artifact: its artifact folder.
    """

    artifact: Path


def run(
    data: FaceDataModule,
    defence: Path,
    features: Path,
    reconstructions: Path,
    oracles: dict[str, TrainedOracle | IdentityOracle],
    output: Path,
    labels: dict[str, str | int | float | None] | None = None,
    prior: Path | None = None,
    lpips_weights: Path | None = None,
    seed: int = 0,
) -> None:
    """Write results.json and per_image.csv.

    Args:
        data: the faces that were protected.
        defence: artifact folder of the defence.
        features: folder of the store of features.
        reconstructions: folder of the store of reconstructions.
        oracles: who judges identity, by name.
        output: folder that receives the results.
        labels: what the rows say about the run.
        prior: artifact folder of the prior; without it epsilon is left empty.
        lpips_weights: state dict of torchvision's AlexNet; without it LPIPS is left empty.
        seed: of the bootstrap and of the prior's samples.
    """
    if unknown := set(labels or {}) - set(LABELS):
        raise ValueError(f"labels {sorted(unknown)} are no columns; known: {', '.join(LABELS)}")
    distance = Lpips(lpips_weights) if lpips_weights else None
    average = load_artifact(prior, Prior) if prior else None
    target = load_artifact(defence, Defence)
    judges = {name: _load_oracle(oracle) for name, oracle in oracles.items()}
    protected, attacked = TensorStore.open(features), TensorStore.open(reconstructions)
    check_encoder(protected, target.encoder, defence)
    check_same_features(attacked, protected)
    data.prepare_data()
    data.setup("test")
    faces = Faces.of(data)
    shown = read_restarts(attacked, faces)
    common = dict.fromkeys(LABELS) | (labels or {}) | utility(target, protected, faces, seed)
    common |= {"n_images": len(faces.rows), "n_identities": len(faces.identities.unique()), "seed": seed}
    common |= {"seconds": attacked.load("seconds")["seconds"].mean().item()}
    likeness = [Likeness.of(images, faces, distance) for images in shown.values()]
    distances = perceptual_distances(list(shown.values()), faces, average, seed)
    rows, per_image = [], []
    for name, oracle in judges.items():
        judge = Judge(oracle, data.faces("private_train"), faces)
        for (restart, images), like, epsilons in zip(shown.items(), likeness, distances, strict=True):
            verdict = judge(images)
            key = {"oracle": name, "restart": restart}
            rows.append(common | key | like.columns() | epsilons | judge.columns(verdict))
            per_image += [key | line for line in lines_per_image(faces, verdict, like)]
    write(output, rows, per_image)


def lines_per_image(faces: Faces, verdict: Verdict, likeness: Likeness) -> list[dict[str, Any]]:
    columns = {
        "row": faces.rows,
        "identity": faces.identities,
        "correct": verdict.correct.int(),
        "fsim": verdict.fsim,
        "ssim": likeness.ssim,
    }
    return [
        dict(zip(columns, line, strict=True))
        for line in zip(*(column.tolist() for column in columns.values()), strict=True)
    ]


def write(output: Path, rows: list[dict[str, Any]], per_image: list[dict[str, Any]]) -> None:
    """results.json (NaN becomes null) and, for its owner alone, per_image.csv."""
    output.mkdir(parents=True, exist_ok=True)
    private = os.open(output / "per_image.csv", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(private, "w", newline="") as file:
        table = csv.DictWriter(file, ("row", "identity", "restart", "oracle", "correct", "fsim", "ssim"))
        table.writeheader()
        table.writerows(per_image)
    clean = [{name: None if _is_nan(value) else value for name, value in row.items()} for row in rows]
    temporary = output / "results.json.tmp"  # results.json is what says that the stage is done
    temporary.write_text(json.dumps(clean, indent=1, allow_nan=False))
    temporary.replace(output / "results.json")


def _load_oracle(oracle: TrainedOracle | IdentityOracle) -> IdentityOracle:
    return (
        load_artifact(oracle.artifact, IdentityOracle) if isinstance(oracle, TrainedOracle) else oracle.eval()
    )


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def main(args: list[str] | None = None) -> None:
    auto_cli(run, args=args, as_positional=False)


if __name__ == "__main__":
    main()
