"""Measure what one attack makes of one store of features, and what the cloud still reads from them.

    python -m experiments.measure --config C.yaml

    data: {class_path: datamodules.SyntheticFaces, init_args: {image_size: 64}}
    defence: artifacts/crafter                   # its head reads the attributes from the features
    features: artifacts/crafter/features
    reconstructions: artifacts/white_box
    oracles: {classifier: {artifact: artifacts/oracle}}   # or {class_path: ..., init_args: ...}
    prior: artifacts/prior                       # what average faces look like, for epsilon
    labels: {defence: crafter, strength: beta=1, attack: white_box, access: white}
    output: artifacts/measure

In the development scenario `head` names the f that was trained on protected features: then the AUC is that of
this f on raw features of held-out public images (public_val), which nobody protects.

In place of `reconstructions` and `oracles`, `identifier` names a FeatureIdentifier that reads identities from
the features themselves (feature exposure): nothing is reconstructed, so there is one row without the columns
of images, the attack is its own judge, and `clean_acc` says how often an undefended feature is read right.
With neither there is one row, of the utility alone: that of a defence from which no feature leaves.

The output receives results.json, one row per oracle and restart, and one for `best`: each image's restart of
the attack's own lowest loss; per_image.csv, the same image by image; attributes.csv, the AUC of each; and
epsilon.csv, the epsilon of `best` over the number of images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonargparse import auto_cli

from datamodules.faces import FaceDataModule
from experiments.attack import check_encoder
from experiments.evaluation.exposure import ITSELF, expose, load_identifier
from experiments.evaluation.faces import (
    AverageFaces,
    Faces,
    Likeness,
    Restarts,
    open_attack,
    read_restarts,
)
from experiments.evaluation.judge import Judge, Verdict
from experiments.evaluation.rows import check_labels, common_columns, lines_per_image, write, write_table
from experiments.evaluation.utility import load_head, read_utility
from experiments.machine import device
from facecrafter.metrics import Lpips
from facecrafter.store import TensorStore, encoder_hash
from lightning_modules.artifacts import load_artifact
from lightning_modules.attackers.prior import Prior
from lightning_modules.defences.base import Defence
from lightning_modules.networks.oracle import IdentityOracle

NO_DISTANCE = {"epsilon": None, "epsilon_null": None}
NOT_ATTACKED = {
    **dict.fromkeys(("attack", "access", "oracle"), "none"),
    "restart": "best",
    **dict.fromkeys(("clean_acc", "eval_acc", "eval_acc_lo", "eval_acc_hi", "top5", "seconds")),
}
"""The row of a defence that nobody attacks, because no feature leaves the device."""

VERSION = 2
"""Raised when what this command computes changes: a study then computes it again."""


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
    output: Path,
    oracles: dict[str, TrainedOracle | IdentityOracle] | None = None,
    reconstructions: Path | None = None,
    identifier: Path | None = None,
    labels: dict[str, str | int | float | None] | None = None,
    head: Path | None = None,
    prior: Path | None = None,
    lpips_weights: Path | None = None,
    seed: int = 0,
) -> None:
    """Measure and write everything into `output`.

    Args:
        data: the faces that were protected.
        defence: artifact folder of the defence.
        features: folder of the store of features.
        output: folder that receives the results.
        oracles: who judges identity, by name.
        reconstructions: folder of the store of reconstructions.
        identifier: artifact folder of what reads identities from features, in place of reconstructions.
        labels: what the rows say about the run.
        head: artifact folder of the f that was trained on protected features, in the development scenario;
            without it utility is that of the defence's own head.
        prior: artifact folder of the prior; without it epsilon is left empty.
        lpips_weights: state dict of torchvision's AlexNet; without it LPIPS is left empty.
        seed: of the bootstrap and of the prior's samples.
    """
    check_labels(labels)
    check_request(reconstructions, identifier, oracles)
    distance = Lpips(lpips_weights).to(device()) if lpips_weights else None
    generator = load_artifact(prior, Prior).to(device()) if prior else None
    target = load_artifact(defence, Defence).to(device())
    reader = load_head(head, defence, target.encoder).to(device()) if head else None
    loaded = {name: _load_oracle(oracle).to(device()) for name, oracle in (oracles or {}).items()}
    protected = TensorStore.open(features)
    check_encoder(protected, encoder_hash(target.encoder), f"{defence} has", "name the defence that made it")
    attacked = open_attack(reconstructions, protected) if reconstructions else None
    identities = load_identifier(identifier, protected) if identifier else None
    data.prepare_data()
    data.setup("test")
    faces = Faces.of(data)
    restarts = read_restarts(attacked, faces) if attacked else None
    utility = read_utility(target, reader, protected, data, faces, seed)
    common = common_columns(labels, utility, faces, seed)
    output.mkdir(parents=True, exist_ok=True)
    write_table(output / "attributes.csv", utility.lines(data.attribute_names))
    if identities is not None:
        row, found = expose(identities, target.encoder, protected, faces)
        write(output, [common | row], lines_per_image(ITSELF, faces, found))
        return
    if restarts is None:
        write(output, [common | NOT_ATTACKED], [])
        return
    average = AverageFaces(generator, faces, seed) if generator else None
    known, cache = data.faces("private_train"), data.cache_dir
    judges = {name: Judge(oracle, known, faces, seed, cache) for name, oracle in loaded.items()}
    rows, per_image = compare(restarts, faces, judges, distance, average)
    if average:
        write_table(output / "epsilon.csv", [point._asdict() for point in average.curve(restarts)])
    write(output, [common | {"seconds": restarts.seconds} | row for row in rows], per_image)


def check_request(
    reconstructions: Path | None, identifier: Path | None, oracles: Mapping[str, Any] | None
) -> None:
    """Refuse what cannot be measured together, or would measure nothing.

    Raises:
        ValueError: saying what to leave out or to name.
    """
    if reconstructions and identifier:
        raise ValueError("name reconstructions or an identifier, not both: each is an attack of its own")
    if reconstructions and not oracles:
        raise ValueError("reconstructions need oracles to judge whom they show; name at least one")


def compare(
    restarts: Restarts,
    faces: Faces,
    judges: Mapping[str, Judge],
    distance: Lpips | None,
    average: AverageFaces | None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Reconstructions with their originals: a row for each judge and restart, and the lines of each image."""
    likeness = restarts.with_best([Likeness.of(images, faces, distance) for images in restarts.images])
    distances = average.distances(restarts) if average else dict.fromkeys(restarts.names, NO_DISTANCE)
    rows, per_image = [], []
    for key, verdict, judged in judgements(judges, restarts):
        alike = likeness[key["restart"]]
        rows.append(key | alike.columns() | distances[key["restart"]] | judged)
        per_image += lines_per_image(key, faces, vars(verdict) | alike.found())
    return rows, per_image


def judgements(
    judges: Mapping[str, Judge], restarts: Restarts
) -> Iterator[tuple[dict[str, str], Verdict, dict[str, float]]]:
    """For every judge and restart which they are, what is said of each image, and of all."""
    for name, judge in judges.items():
        seen = restarts.with_best([judge.see(images) for images in restarts.images])
        for restart, sight in seen.items():
            verdict = judge.verdict(sight)
            yield {"oracle": name, "restart": restart}, verdict, judge.columns(sight, verdict)


def _load_oracle(oracle: TrainedOracle | IdentityOracle) -> IdentityOracle:
    return (
        load_artifact(oracle.artifact, IdentityOracle) if isinstance(oracle, TrainedOracle) else oracle.eval()
    )


def main(args: list[str] | None = None) -> None:
    auto_cli(run, args=args, as_positional=False)


if __name__ == "__main__":
    main()
