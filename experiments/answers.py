"""Measure what f's answers to a store of features are worth and give away, and whether these can be linked.

    python -m experiments.answers --config C.yaml

    data: {class_path: datamodules.SyntheticFaces, init_args: {image_size: 64}}
    defence: artifacts/crafter                   # its head answers
    features: artifacts/crafter/features
    labels: {defence: crafter, strength: beta=1}
    second: artifacts/crafter.second/features    # other pictures of the same people (private_train), or none
    again: artifacts/crafter.again/features      # the same pictures once more, or none
    output: artifacts/answers

In the development scenario `head` names the f that was trained on protected features.

People are named as an attacker names them who has nothing else: what stays with a person is learned on public
people, and the answers are compared with those to photographs of the private people that a judge would have
enrolled (private_train), never with those of the pictures that are to be named.

The output receives results.json, of one row; columns.json, what each figure in it is; and per_image.csv,
whether each picture's person was named.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from jsonargparse import auto_cli
from torch import Tensor, nn

from datamodules.datasets import FaceDataset
from datamodules.faces import FaceDataModule
from experiments import machine
from experiments.errors import ends_in_sentences
from experiments.evaluation import answers, unlinkability
from experiments.evaluation.answers import (
    STRANGERS,
    Asked,
    Pictures,
    answered,
    at_threshold,
    floors,
    of_people,
    proved,
    together,
)
from experiments.evaluation.batches import in_batches
from experiments.evaluation.faces import Faces, load_features, load_some
from experiments.evaluation.rows import check_labels, lines_per_image, write
from experiments.evaluation.unlinkability import Release, links
from experiments.evaluation.utility import load_head
from facecrafter.files import checked_path, for_owner_alone
from facecrafter.store import TensorStore, check_encoder, encoder_hash
from lightning_modules.artifacts import is_trained, load_artifact
from lightning_modules.defences.base import Defence

VERSION = 7
"""Raised when what this command computes changes: a study then computes it again."""


def run(
    data: FaceDataModule,
    defence: Path,
    features: Path,
    output: Path,
    labels: dict[str, str | int | float | None] | None = None,
    head: Path | None = None,
    second: Path | None = None,
    again: Path | None = None,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Measure and write everything into `output`.

    Args:
        data: the faces that were protected.
        defence: artifact folder of the defence.
        features: folder of the store of features.
        output: folder that receives the results.
        labels: what the row says about the run.
        head: artifact folder of the f that was trained on protected features, in the development scenario;
            without it the defence's own head answers.
        second: folder of a store of features of the same people's private_train pictures, to be linked with
            those in `features`; without it these are linked with each other.
        again: folder of a store of the same pictures' features, as they were released once more.
        seed: of the bootstrap, and of whom comparing is learned on.
        device: auto (the GPU where there is one), cpu, cuda, cuda:1, ...
    """
    checked_path(output, "the output")
    machine.compute_on(device)
    check_labels(labels)
    target = load_artifact(defence, Defence).to(machine.device())
    f = load_head(head, defence, target.encoder).to(machine.device()) if head else target.head
    protected = TensorStore.open(features)
    check_encoder(protected, encoder_hash(target.encoder), f"{defence} has", "name the defence that made it")
    data.prepare_data()
    data.setup("test")
    faces, enrolled = Faces.of(data), data.faces("private_train")
    released = _release(load_features(protected, faces), faces.identities, f)
    same = again and _release(load_features(TensorStore.open(again), faces), faces.identities, f)
    other = second and _release(*load_some(TensorStore.open(second), enrolled), f)
    asked = _asked(data, faces, enrolled, released, target.encoder, f, seed)
    columns, hits = floors(asked, seed)
    # What trains its own network has no raw features of f's, and an f of protected ones never saw any.
    is_same = head is None and not is_trained(type(target))
    raw = asked["floor_raw"].probes.numbers if is_same else None
    task = f.task if head else target.task
    columns |= at_threshold(asked["floor"].probes, raw, faces.attributes, task, seed)
    columns |= links(released, other, same, asked["floor"].strangers, seed)
    columns |= proved(target.bits, faces.identities)
    counts = {"n_images": len(faces.rows), "n_identities": data.n_private_identities, "seed": seed}
    per_image = [
        line
        for name, found in hits.items()
        for line in lines_per_image({"oracle": name, "restart": "best"}, faces, {"correct": found})
    ]
    row = dict(labels or {}) | counts | columns
    write(output, [row], per_image, [*answers.COLUMNS, *unlinkability.COLUMNS])


def _asked(
    data: FaceDataModule,
    faces: Faces,
    enrolled: FaceDataset,
    released: Release,
    encoder: nn.Module,
    f: nn.Module,
    seed: int,
) -> dict[str, Asked]:
    """What is asked of whom, for each floor: strangers to learn on, photographs that are known, and those to
    be named, of which `released` says what f answers to their protected features."""

    def read(images: Tensor) -> Tensor:
        return f(encoder(images))

    public = [(part, of_people(part, STRANGERS, seed)) for part in map(data.faces, ("public", "public_val"))]
    strangers = together(answered(read, part, drawn) for part, drawn in public)
    known = answered(read, enrolled, torch.arange(len(enrolled)))
    raw = in_batches(read, faces.images)
    labelled = together(Pictures(part.attributes, part.identities) for part, _ in public)
    return {
        "floor": Asked(strangers, known, Pictures(released.answers, faces.identities)),
        "floor_raw": Asked(strangers, known, Pictures(raw.flatten(1), faces.identities)),
        "floor_attributes": Asked(
            labelled,
            Pictures(enrolled.attributes, enrolled.identities),
            Pictures(faces.attributes, faces.identities),
        ),
    }


def _release(features: Tensor, identities: Tensor, f: nn.Module) -> Release:
    return Release(features, in_batches(f, features).flatten(1), identities)


@for_owner_alone()
def main(args: Sequence[str] | None = None) -> None:
    auto_cli(run, args=args, as_positional=False)


if __name__ == "__main__":
    ends_in_sentences(main)()
