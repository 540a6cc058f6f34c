"""Measure what several attacks on the same features give away together.

    python -m experiments.combine --config C.yaml

    data: {class_path: datamodules.SyntheticFaces, init_args: {image_size: 64}}
    measured: [artifacts/white_box.measure, artifacts/black_box.measure]
    reconstructions: [artifacts/white_box/reconstructions, artifacts/black_box/reconstructions]
    oracles: {classifier: {artifact: artifacts/oracle}}
    labels: {defence: crafter, strength: beta=1, attack: fusion, access: white}
    output: artifacts/fusion

With `reconstructions` it is the fusion: of each image the mean embedding of all its reconstructions, which a
real attacker can compute. Without them it is the union: the images that one of the attacks, in one of its
restarts, has shown to the judge. No attacker knows which of them is right, so it is an upper bound of what
these attacks find together.

The output receives results.json, columns.json and per_image.csv, as from experiments.measure.
"""

from __future__ import annotations

from pathlib import Path

from jsonargparse import auto_cli

from datamodules.faces import FaceDataModule
from experiments import machine
from experiments.errors import ends_in_sentences
from experiments.evaluation.combining import fusion, shared_columns, union
from experiments.evaluation.faces import Faces
from experiments.evaluation.likeness import Likeness
from experiments.evaluation.rows import LABELS, check_labels, describe_columns, write
from experiments.measure import TrainedOracle, enrol, load_oracle
from facecrafter.files import checked_path, for_owner_alone
from facecrafter.store import TensorStore
from lightning_modules.networks.oracle import IdentityOracle

VERSION = 4
"""Raised when what this command computes changes: a study then computes it again."""


def run(
    data: FaceDataModule,
    measured: list[Path],
    oracles: dict[str, TrainedOracle | IdentityOracle],
    output: Path,
    reconstructions: list[Path] | None = None,
    labels: dict[str, str | int | float | None] | None = None,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Combine and write everything into `output`.

    Args:
        data: the faces that were protected.
        measured: folders of measurements of the attacks, of one defence at one strength.
        oracles: who judges identity, by the names that the measurements have.
        output: folder that receives the results.
        reconstructions: folders of the stores of reconstructions; without them it is the union.
        labels: what the rows say about the run.
        seed: of the bootstrap.
        device: auto (the GPU where there is one), cpu, cuda, cuda:1, ...
    """
    checked_path(output, "the output")
    machine.compute_on(device)
    check_labels(labels)
    if reconstructions:
        stores = [TensorStore.open(folder) for folder in reconstructions]
        loaded = {name: load_oracle(oracle).to(machine.device()) for name, oracle in oracles.items()}
        data.prepare_data()
        data.setup("test")
        faces = Faces.of(data)
        rows, per_image = fusion(stores, enrol(loaded, data, faces, seed), faces)
    else:
        rows, per_image = union(measured, oracles)
    common = dict.fromkeys(LABELS) | dict(labels or {}) | shared_columns(measured[0])
    write(output, [common | row for row in rows], per_image, describe_columns(Likeness().columns))


@for_owner_alone()
def main(args: list[str] | None = None) -> None:
    auto_cli(run, args=args, as_positional=False)


if __name__ == "__main__":
    ends_in_sentences(main)()
