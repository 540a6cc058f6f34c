"""What the cloud reads: the AUC of f on protected features, or in the development scenario on raw ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from datamodules.datasets import FaceDataset
from datamodules.faces import FaceDataModule
from experiments.evaluation.batches import in_batches, of_photographs
from experiments.evaluation.columns import Column, interval_columns
from experiments.evaluation.faces import Faces, load_features
from facecrafter.batches import BATCH
from facecrafter.metrics import Interval, LinearProbe, attribute_aucs, clustered_aucs
from facecrafter.nets.through_head import HIDDEN, LOGITS, ThroughHead, layer_ends
from facecrafter.store import TensorStore, encoder_hash
from lightning_modules.artifacts import load_artifact
from lightning_modules.defences.base import Defence
from lightning_modules.networks.head import HeadTraining
from lightning_modules.networks.kept import kept, key_of

COLUMNS = (
    Column(
        "auc",
        "mean AUC",
        "Area under the ROC curve of what the cloud reads, 0.5 (chance) to 1, averaged over the attributes; "
        "higher is more useful.",
        interval=True,
    ),
    Column(
        "probe_auc",
        "AUC of unknown tasks",
        "Mean AUC over attributes that f never saw, 0.5 (chance) to 1, read from the protected features, or "
        "from what f makes of them, by a linear probe trained on raw features of public people. It says what "
        "they are worth beyond the task that was known when they were made; higher is more useful.",
        interval=True,
    ),
)
PROBED = 2000
"""Public images that a probe learns from, at most: it solves a system of as many equations."""
PROBES = 1
"""Raised when what a probe learns changes: what was kept is then learnt again."""
READ = (HIDDEN, LOGITS)
"""Layers of f that a new task may read in place of the feature."""


@dataclass
class Utility:
    """AUCs of f, with intervals over identities.

    Attributes:
        mean: over the attributes.
        each: of each attribute.
        attributes: (N, A) in {0, 1}, of the images that were read.
        unknown: the mean over attributes that f never saw, by a probe; None where nobody asked.
    """

    mean: Interval
    each: list[Interval]
    attributes: Tensor
    unknown: Interval | None = None

    def columns(self) -> dict[str, float | None]:
        """Its columns of results.csv, `COLUMNS`."""
        unasked = dict.fromkeys(("probe_auc", "probe_auc_lo", "probe_auc_hi"))
        probed = interval_columns("probe_auc", self.unknown) if self.unknown else unasked
        return {**interval_columns("auc", self.mean), **probed}

    def lines(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """The lines of attributes.csv: the AUC of each attribute, and how many of the images have it."""
        have_it = self.attributes.sum(dim=0).int().tolist()
        return [
            {"attribute": name, "images": images, **interval_columns("auc", auc)}
            for name, images, auc in zip(names, have_it, self.each, strict=True)
        ]


def on_protected_features(defence: Defence, store: TensorStore, faces: Faces, seed: int) -> Utility:
    """The AUCs of the defence's own head on the features that left the device."""
    scores = in_batches(defence.head, load_features(store, faces))
    return Utility(*clustered_aucs(scores, faces.attributes, faces.identities, seed), faces.attributes)


def on_raw_features(head: HeadTraining, defence: Defence, held_out: FaceDataset, seed: int) -> Utility:
    """The AUCs of an f trained on protected features, on raw ones: whom it serves later is not protected.

    Raises:
        ValueError: there is no image to measure on.
    """
    if len(held_out) == 0:
        raise ValueError(
            "f is measured on public_val images, but there are none: raise the data's val_fraction"
        )

    def read(images: Tensor) -> Tensor:
        return head(defence.encoder(images))

    scores = of_photographs(read, held_out.images, len(held_out))
    aucs = clustered_aucs(scores, held_out.attributes, held_out.identities, seed)
    return Utility(*aucs, held_out.attributes)


def unknown_tasks(
    defence: Defence, store: TensorStore, data: FaceDataModule, faces: Faces, unseen: Sequence[str], seed: int
) -> Interval:
    """The mean AUC over the attributes `unseen` of probes of the features that left the device.

    They learn from raw features of public people: whoever comes with a new task has features of people who
    agreed, and those of everybody else as they were released. A new task's head may stand on the feature or
    on one of `READ`: a release that keeps what f holds in a layer is read there best, noise at the split. For
    each attribute that is chosen by the AUCs of all others.
    """
    labelled = data.labelled(list(unseen))
    probes = _learn_from(labelled.faces("public"), defence, seed, data.cache_dir)
    released = load_features(store, faces)
    truth = Faces.of(labelled).attributes
    scores = [probe(sent).float() for probe, sent in zip(probes, _read(defence.head, released), strict=True)]
    return clustered_aucs(chosen_by_the_others(scores, truth), truth, faces.identities, seed)[0]


def _learn_from(public: FaceDataset, defence: Defence, seed: int, folder: Path) -> list[LinearProbe]:
    """A probe of each layer that `_read` reads: learnt once for all attacks on whoever has this f."""
    # Sorted: pictures are read in the order in which they lie on the disk.
    chosen = torch.from_numpy(np.random.default_rng(seed).permutation(len(public))[:PROBED]).sort().values

    def images(positions: Tensor) -> Tensor:
        return public.images(chosen[positions])

    def raw(n: int) -> list[Tensor]:
        return list(_read(defence.head, of_photographs(defence.encoder, images, n)))

    def learn() -> dict[str, Tensor]:
        probes = [LinearProbe.fit(known, public.attributes[chosen]) for known in raw(len(chosen))]
        return {f"{at}.{name}": part for at, probe in enumerate(probes) for name, part in vars(probe).items()}

    # A few features stand for all that weights cannot tell, such as other code or another machine.
    first = {str(at): read for at, read in enumerate(raw(min(len(chosen), BATCH)))}
    networks = nn.ModuleDict({"encoder": defence.encoder, "head": defence.head})
    key = key_of(networks, images, len(chosen), first | {"labels": public.attributes[chosen]})
    found = kept(folder / f"probes-{PROBES}-{key}.safetensors", learn)
    names = [field.name for field in fields(LinearProbe)]
    return [LinearProbe(**{name: found[f"{at}.{name}"] for name in names}) for at in range(len(first))]


def _read(head: nn.Module, features: Tensor) -> Iterator[Tensor]:
    """Features themselves, and what f makes of them in each of `READ` that it has behind them."""
    yield features
    ends = layer_ends(head)
    behind = ThroughHead(head, {name: 1.0 for name in READ if ends.get(name)})
    for part in behind.parts:
        features = in_batches(part, features)
        yield features


def chosen_by_the_others(scores: Sequence[Tensor], truth: Tensor) -> Tensor:
    """Scores (N, A), of each attribute those of the probes that read all other attributes best.

    Chosen by its own AUC a task would look better read than it is. What is left of that, since attributes go
    together, is 0.005 for three equal probes of attributes that correlate by 0.3.

    Args:
        scores: (N, A) each, of probes of one layer.
        truth: (N, A) in {0, 1}.
    """
    aucs = torch.stack([attribute_aucs(found, truth) for found in scores])
    counted = aucs.nan_to_num(0.0)  # of one class alone there is none
    best = (counted.sum(dim=1, keepdim=True) - counted).argmax(dim=0)
    return torch.stack(list(scores))[best, :, torch.arange(truth.shape[1])].T


def read_utility(
    defence: Defence,
    head: HeadTraining | None,
    protected: TensorStore,
    data: FaceDataModule,
    faces: Faces,
    seed: int,
    unseen: Sequence[str] = (),
) -> Utility:
    """In the development scenario that of `head` on the raw public_val images; else that of the defence's own
    head on the protected features of `faces`, and beside it that of a probe of the attributes `unseen`."""
    if head is not None:
        return on_raw_features(head, defence, data.faces("public_val"), seed)
    read = on_protected_features(defence, protected, faces, seed)
    if unseen:
        read.unknown = unknown_tasks(defence, protected, data, faces, unseen, seed)
    return read


def load_head(folder: Path, defence: Path, encoder: torch.nn.Module) -> HeadTraining:
    """The f in the artifact `folder`.

    Raises:
        ValueError: it reads the features of another encoder than that of the artifact `defence`.
    """
    head, expected = load_artifact(folder, HeadTraining), encoder_hash(encoder)
    if head.encoder_hash != expected:
        raise ValueError(
            f"{folder} was trained for encoder {head.encoder_hash[:12]}, but {defence} has encoder "
            f"{expected[:12]}; train it with encoder set to {defence}"
        )
    return head
