"""Measure what one attack reconstructed from one store of features.

    python -m experiments.measure --config C.yaml

    data: {class_path: datamodules.SyntheticFaces, init_args: {image_size: 64}}
    defence: artifacts/crafter                   # its head reads the attributes from the features
    features: artifacts/crafter/features
    reconstructions: artifacts/white_box
    oracles: {classifier: {artifact: artifacts/oracle}}   # or {class_path: ..., init_args: ...}
    prior: artifacts/prior                       # what average faces look like, for epsilon
    labels: {defence: crafter, strength: beta=1, attack: white_box, access: white}
    output: artifacts/measure

The output receives results.json, one row per oracle and restart, and one for `best`: each image's restart of
the attack's own lowest loss; per_image.csv, the same image by image; attributes.csv, the AUC of each; and
epsilon.csv, the epsilon of `best` over the number of images.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jsonargparse import auto_cli

from datamodules.datasets import FaceDataset
from datamodules.faces import FaceDataModule
from experiments.attack import check_encoder
from experiments.evaluation import (
    AverageFaces,
    Faces,
    Likeness,
    Restarts,
    check_same_features,
    interval_columns,
    read_attributes,
    read_restarts,
)
from experiments.judging import Judge, Verdict
from facecrafter.metrics import Interval, Lpips
from facecrafter.store import TensorStore, encoder_hash
from lightning_modules.artifacts import load_artifact
from lightning_modules.defence import Defence
from lightning_modules.oracle import IdentityOracle
from lightning_modules.prior import Prior

LABELS = (
    *("dataset", "scenario", "network", "defence", "strength", "attack", "access"),
    *("adaptive", "countermeasure", "epoch", "budget"),
)

NO_DISTANCE = {"epsilon": None, "epsilon_null": None}


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
    """Measure and write everything into `output`.

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
    generator = load_artifact(prior, Prior) if prior else None
    target = load_artifact(defence, Defence)
    judges = {name: _load_oracle(oracle) for name, oracle in oracles.items()}
    protected, attacked = TensorStore.open(features), TensorStore.open(reconstructions)
    check_encoder(protected, encoder_hash(target.encoder), f"{defence} has", "name the defence that made it")
    check_same_features(attacked, protected)
    data.prepare_data()
    data.setup("test")
    faces = Faces.of(data)
    restarts = read_restarts(attacked, faces)
    auc, aucs = read_attributes(target, protected, faces, seed)
    common = dict.fromkeys(LABELS) | (labels or {}) | interval_columns("auc", auc)
    common |= {"n_images": len(faces.rows), "n_identities": len(faces.identities.unique()), "seed": seed}
    common |= {"seconds": attacked.load("seconds")["seconds"].mean().item()}
    likeness = restarts.with_best([Likeness.of(images, faces, distance) for images in restarts.images])
    average = AverageFaces(generator, faces, seed) if generator else None
    distances = average.distances(restarts) if average else dict.fromkeys(restarts.names, NO_DISTANCE)
    rows, per_image = [], []
    for key, verdict, judged in judgements(judges, data.faces("private_train"), faces, restarts, seed):
        alike = likeness[key["restart"]]
        rows.append(common | key | alike.columns() | distances[key["restart"]] | judged)
        per_image += [key | line for line in lines_per_image(faces, verdict, alike)]
    output.mkdir(parents=True, exist_ok=True)
    write_table(output / "attributes.csv", lines_per_attribute(data.attribute_names, faces, aucs))
    if average:
        write_table(output / "epsilon.csv", [point._asdict() for point in average.curve(restarts)])
    write(output, rows, per_image)


def judgements(
    oracles: Mapping[str, IdentityOracle], known: FaceDataset, faces: Faces, restarts: Restarts, seed: int
) -> Iterator[tuple[dict[str, str], Verdict, dict[str, float]]]:
    """For every oracle and restart which they are, what is said of each image, and of all."""
    for name, oracle in oracles.items():
        judge = Judge(oracle, known, faces, seed)
        seen = restarts.with_best([judge.see(images) for images in restarts.images])
        for restart, sight in seen.items():
            verdict = judge.verdict(sight)
            yield {"oracle": name, "restart": restart}, verdict, judge.columns(sight, verdict)


def lines_per_attribute(names: Sequence[str], faces: Faces, aucs: Sequence[Interval]) -> list[dict[str, Any]]:
    """The AUC of each attribute, and how many of the images have it."""
    have_it = faces.attributes.sum(dim=0).int().tolist()
    return [
        {"attribute": name, "images": images, **interval_columns("auc", auc)}
        for name, images, auc in zip(names, have_it, aucs, strict=True)
    ]


def lines_per_image(faces: Faces, verdict: Verdict, likeness: Likeness) -> list[dict[str, Any]]:
    """What is known of each image, hits as 0 and 1."""
    found = vars(verdict) | {name: values for name, values in vars(likeness).items() if values is not None}
    columns = {"row": faces.rows, "identity": faces.identities} | {
        name: values.int() if values.dtype == torch.bool else values for name, values in found.items()
    }
    return [
        dict(zip(columns, line, strict=True))
        for line in zip(*(column.tolist() for column in columns.values()), strict=True)
    ]


def write(output: Path, rows: list[dict[str, Any]], per_image: list[dict[str, Any]]) -> None:
    """results.json (NaN becomes null) and, for its owner alone, per_image.csv."""
    output.mkdir(parents=True, exist_ok=True)
    write_table(output / "per_image.csv", per_image, mode=0o600)
    temporary = output / "results.json.tmp"  # results.json is what says that the stage is done
    temporary.write_text(json.dumps(list(map(_without_nan, rows)), indent=1, allow_nan=False))
    temporary.replace(output / "results.json")


def write_table(path: Path, lines: list[dict[str, Any]], mode: int = 0o644) -> None:
    """A CSV with these permissions; NaN becomes empty."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", newline="") as file:
        table = csv.DictWriter(file, lines[0])
        table.writeheader()
        table.writerows(map(_without_nan, lines))


def _load_oracle(oracle: TrainedOracle | IdentityOracle) -> IdentityOracle:
    return (
        load_artifact(oracle.artifact, IdentityOracle) if isinstance(oracle, TrainedOracle) else oracle.eval()
    )


def _without_nan(line: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in line.items()
    }


def main(args: list[str] | None = None) -> None:
    auto_cli(run, args=args, as_positional=False)


if __name__ == "__main__":
    main()
