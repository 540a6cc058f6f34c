"""Read identities from features themselves, and measure how often that is right: feature exposure.

    python -m experiments.identify --config C.yaml

    data: {class_path: datamodules.SyntheticFaces, init_args: {image_size: 64}}
    defence: artifacts/crafter
    features: artifacts/crafter/features
    identifier: artifacts/identifier             # a lightning_modules.FeatureIdentifier
    labels: {defence: crafter, strength: beta=1, attack: exposure_features, adaptive: exposure}
    output: artifacts/identify                   # receives results.json and per_image.csv

There is one row, with the columns of `experiments.measure`. Nothing is reconstructed: the attack is its own
judge, the columns of images are left out, and `clean_acc` says how often an undefended feature is read right.
"""

from __future__ import annotations

import time
from pathlib import Path

from jsonargparse import auto_cli
from torch import Tensor, nn

from datamodules.faces import FaceDataModule
from experiments.attack import check_encoder
from experiments.evaluation.batches import in_batches
from experiments.evaluation.columns import interval_columns
from experiments.evaluation.faces import Faces, check_rows
from experiments.evaluation.rows import (
    check_labels,
    common_columns,
    describe_columns,
    lines_per_image,
    write,
)
from experiments.evaluation.utility import load_head, read_utility
from experiments.machine import device
from facecrafter.metrics import identified, wilson
from facecrafter.store import TensorStore, encoder_hash
from lightning_modules.artifacts import load_artifact
from lightning_modules.attackers.identifier import FeatureIdentifier
from lightning_modules.defences.base import Defence

JUDGE = {"oracle": "itself", "restart": "best"}
"""Where other attacks name who judged which of their restarts."""


def run(
    data: FaceDataModule,
    defence: Path,
    features: Path,
    identifier: Path,
    output: Path,
    labels: dict[str, str | int | float | None] | None = None,
    head: Path | None = None,
    seed: int = 0,
) -> None:
    """Write results.json and per_image.csv.

    Args:
        data: the faces that were protected.
        defence: artifact folder of the defence.
        features: folder of the store of features.
        identifier: artifact folder of what reads identities from features.
        output: folder that receives the results.
        labels: what the row says about the run.
        head: artifact folder of the f that was trained on protected features; see `experiments.measure`.
        seed: of the bootstrap.
    """
    check_labels(labels)
    target = load_artifact(defence, Defence).to(device())
    reader = load_artifact(identifier, FeatureIdentifier).to(device())
    f = load_head(head, defence, target.encoder).to(device()) if head else None
    store = TensorStore.open(features)
    check_encoder(store, encoder_hash(target.encoder), f"{defence} has", "name the defence that made it")
    check_encoder(store, reader.encoder_hash, f"{identifier} was trained for", "train one for that encoder")
    data.prepare_data()
    data.setup("test")
    faces = Faces.of(data)
    utility = read_utility(target, f, store, data, faces, seed)
    common = common_columns(labels, utility, faces, seed)
    content = store.load("row", "features")
    check_rows(store, content["row"], faces)
    before = time.monotonic()
    verdicts = read_identities(reader.network, content["features"].float(), faces)
    common |= {"seconds": (time.monotonic() - before) / len(faces.rows)}
    clean = read_identities(reader.network, in_batches(target.encoder, faces.images), faces)
    row = common | JUDGE | {"clean_acc": mean(clean["correct"])} | columns(verdicts)
    write(output, [row], lines_per_image(JUDGE, faces, verdicts), describe_columns([]))


def read_identities(network: nn.Module, features: Tensor, faces: Faces) -> dict[str, Tensor]:
    """Whether the right person is named first, and among five, (N,) bool each."""
    scores = in_batches(network, features)
    found = {"correct": 1, "top5": 5}
    return {name: identified(scores, faces.identities, k) for name, k in found.items()}


def columns(verdicts: dict[str, Tensor]) -> dict[str, float]:
    """Of results.csv."""
    correct = verdicts["correct"]
    accuracy = wilson(int(correct.sum()), len(correct))
    return interval_columns("eval_acc", accuracy) | {"top5": mean(verdicts["top5"])}


def mean(hits: Tensor) -> float:
    """The share of them."""
    return hits.double().mean().item()


def main(args: list[str] | None = None) -> None:
    auto_cli(run, args=args, as_positional=False)


if __name__ == "__main__":
    main()
