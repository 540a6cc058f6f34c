"""Measure what one attack makes of one store of features, and what the cloud still reads from them.

    python -m experiments.measure --config C.yaml

    data: {class_path: datamodules.SyntheticFaces, init_args: {image_size: 64}}
    defence: artifacts/crafter                   # its head reads the attributes from the features
    features: artifacts/crafter/features
    reconstructions: artifacts/white_box
    oracles: {classifier: {artifact: artifacts/oracle}}   # or {class_path: ..., init_args: ...}
    prior: artifacts/prior                       # what average faces look like, for epsilon
    metrics: [{class_path: my_metrics.Sharpness}]      # further columns; see facecrafter.metrics.ImageMetric
    labels: {defence: crafter, strength: beta=1, attack: white_box, access: white}
    output: artifacts/measure

In the development scenario `head` names the f that was trained on protected features: then the AUC is that of
this f on raw features of held-out public images (public_val), which nobody protects.

In place of `reconstructions` and `oracles`, `identifier` names a FeatureIdentifier that reads identities from
the features themselves (feature exposure): nothing is reconstructed, so there is one row without the columns
of images, nobody judges what it names (`oracle` is `itself`), and `clean_acc` says how often an undefended
feature is read right.
Or it names a Linker, which sees features among the embeddings of photographs (linkage): then the `oracles`,
who must embed as the Linker learnt it, judge its embeddings as they judge those of images. Or a Matcher,
which compares features with those of photographs; it has no judge either. Each may read the `averages` of
several queries (A3) in place of the features that were released, whose utility is measured. A Linker or a
Matcher may also take the mean of what it reads of several queries, each by itself (`again`): where every
query has another stranger, what f makes of the mean feature is no mean of what it makes of each.
With neither there is one row, of the utility alone: that of a defence from which no feature leaves.

The output receives results.json, one row per oracle and restart, and one for `best`: each image's restart of
the attack's own lowest loss; columns.json, what each figure in them is; per_image.csv, the same image by
image; attributes.csv, the AUC of each; and epsilon.csv, the epsilon of `best` over the number of images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonargparse import auto_cli
from pytorch_lightning import LightningModule

from datamodules.faces import FaceDataModule
from experiments import machine
from experiments.errors import ends_in_sentences
from experiments.evaluation.average_faces import AverageFaces
from experiments.evaluation.exposure import expose
from experiments.evaluation.faces import Faces
from experiments.evaluation.judge import Judge, Sight, Verdict
from experiments.evaluation.likeness import Likeness
from experiments.evaluation.linkage import link
from experiments.evaluation.matching import match
from experiments.evaluation.restarts import Restarts, open_made_from, read_restarts
from experiments.evaluation.rows import (
    check_labels,
    common_columns,
    describe_columns,
    lines_per_image,
    write,
    write_table,
)
from experiments.evaluation.utility import load_head, read_utility
from facecrafter.files import checked_path, for_owner_alone
from facecrafter.metrics import ImageMetric
from facecrafter.store import TensorStore, check_encoder, encoder_hash
from lightning_modules.artifacts import FeatureReader, load_artifact
from lightning_modules.attackers.identifier import FeatureIdentifier
from lightning_modules.attackers.linker import Linker
from lightning_modules.attackers.matcher import Matcher
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

VERSION = 7
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
    averages: Path | None = None,
    again: list[Path] | None = None,
    known: Path | None = None,
    labels: dict[str, str | int | float | None] | None = None,
    head: Path | None = None,
    prior: Path | None = None,
    metrics: list[ImageMetric] | None = None,
    lpips_weights: Path | None = None,
    unseen: list[str] | None = None,
    answers: Path | None = None,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Measure and write everything into `output`.

    Args:
        data: the faces that were protected.
        defence: artifact folder of the defence.
        features: folder of the store of features.
        output: folder that receives the results.
        oracles: who judges identity, by name.
        reconstructions: folder of the store of reconstructions.
        identifier: artifact folder of what reads identities from features, or links them to photographs, in
            place of reconstructions.
        averages: folder of the store of averages of several queries, of which `features` is one, for the
            identifier to read.
        again: folders of the stores of further queries of the same images: a Linker or a Matcher takes the
            mean of what it reads of all.
        known: folder of the store of features of private-train photographs, of everybody, which the attacker
            had protected: a Matcher compares with them in place of raw ones.
        labels: what the rows say about the run.
        head: artifact folder of the f that was trained on protected features, in the development scenario;
            without it utility is that of the defence's own head.
        prior: artifact folder of the prior; without it epsilon is left empty.
        metrics: image metrics beside PSNR, SSIM, MS-SSIM and LPIPS; one with such a name takes its place.
        lpips_weights: state dict of torchvision's AlexNet; without it LPIPS is left empty.
        unseen: attributes of the data that f was not trained for: a probe of them says what the features are
            good for beyond f. The data itself must name those that f knows.
        answers: folder of the store of answers that the attacker learned from; their number is the rows'
            `queries`.
        seed: of the bootstrap, of the prior's samples and of the images that a probe learns from.
        device: auto (the GPU where there is one), cpu, cuda, cuda:1, ...
    """
    checked_path(output, "the output")
    machine.compute_on(device)
    # Everything named is opened before the data is read, so that what is wrong is said at once.
    check_labels(labels)
    check_request(reconstructions, identifier, averages, again, oracles)
    likeness = Likeness(metrics or [], lpips_weights)
    columns = describe_columns(likeness.columns)
    sampled = load_artifact(prior, Prior).to(machine.device()) if prior else None
    target = load_artifact(defence, Defence).to(machine.device())
    reader = load_head(head, defence, target.encoder).to(machine.device()) if head else None
    loaded = {name: load_oracle(oracle).to(machine.device()) for name, oracle in (oracles or {}).items()}
    protected = TensorStore.open(features)
    check_encoder(protected, encoder_hash(target.encoder), f"{defence} has", "name the defence that made it")
    attacked = open_made_from(protected, reconstructions) if reconstructions else None
    shown = open_made_from(protected, averages) if averages else protected
    reads = load_identifier(identifier, protected, oracles) if identifier else None
    asked_again = open_again(again or [], reads)
    photographs = open_known(known, reads)
    data.prepare_data()
    data.setup("test")
    faces = Faces.of(data)
    utility = read_utility(target, reader, protected, data, faces, seed, unseen or [])
    write_table(output / "attributes.csv", utility.lines(data.attribute_names))
    if attacked is not None:
        restarts, judges = read_restarts(attacked, faces), enrol(loaded, data, faces, seed)
        average = AverageFaces(sampled, faces, seed) if sampled else None
        rows, per_image = compare(restarts, faces, judges, likeness, average)
        if average:
            write_table(output / "epsilon.csv", [point._asdict() for point in average.curve(restarts)])
    elif isinstance(reads, FeatureIdentifier):
        rows, per_image = expose(reads, target.encoder, shown, faces)
    elif isinstance(reads, Linker):
        judges = enrol(loaded, data, faces, seed)
        rows, per_image = link(reads, [shown, *asked_again], faces, judges)
    elif isinstance(reads, Matcher):
        known_faces = data.faces("private_train")
        rows, per_image = match(reads, [shown, *asked_again], faces, known_faces, seed, photographs)
    else:
        rows, per_image = [NOT_ATTACKED], []
    learnt = {"queries": TensorStore.open(answers).count()} if answers else {}
    common = common_columns(learnt | dict(labels or {}), utility, faces, data.n_private_identities, seed)
    write(output, [common | row for row in rows], per_image, columns)


def check_request(
    reconstructions: Path | None,
    identifier: Path | None,
    averages: Path | None,
    again: Sequence[Path] | None,
    oracles: Mapping[str, Any] | None,
) -> None:
    """Refuse what cannot be measured together, or would measure nothing.

    Raises:
        ValueError: saying what to leave out or to name.
    """
    if reconstructions and identifier:
        raise ValueError("name reconstructions or an identifier, not both: each is an attack of its own")
    if averages and not identifier:
        raise ValueError("averages are read by an identifier; name one, or reconstruct from them")
    if averages and again:
        raise ValueError(
            "`averages` are of the features of several queries, `again` names queries that are read one by "
            "one: name one of them"
        )
    if reconstructions and not oracles:
        raise ValueError("reconstructions need oracles to judge whom they show; name at least one")


def load_identifier(
    folder: Path, store: TensorStore, oracles: Mapping[str, Any] | None
) -> FeatureIdentifier | Linker | Matcher:
    """What identifies people without an image, from the artifact `folder`, on `machine.device()`.

    Raises:
        ValueError: it is no such thing, reads the features of another encoder than those in `store`, or
            leads to photographs and there is no judge.
    """
    reader = load_artifact(folder, FeatureReader).to(machine.device())
    if not isinstance(reader, FeatureIdentifier | Linker | Matcher):
        raise ValueError(
            f"{folder} holds a {type(reader).__name__}, which identifies nobody; name a FeatureIdentifier, a "
            "Linker or a Matcher"
        )
    if isinstance(reader, Linker) and not oracles:
        raise ValueError(f"{folder} leads from features to photographs, which oracles have; name one")
    check_encoder(store, reader.encoder_hash, f"{folder} was trained for", "train one for that encoder")
    return reader


def open_again(folders: Sequence[Path], reads: LightningModule | None) -> list[TensorStore]:
    """The stores of further queries, for whoever takes the mean of what it reads of them.

    Raises:
        ValueError: nobody does, or they are of another encoder.
    """
    if folders and not isinstance(reads, Linker | Matcher):
        raise ValueError(
            "`again` names further queries for a Linker or a Matcher to read; name one as identifier"
        )
    stores = [TensorStore.open(folder) for folder in folders]
    for store in stores:
        check_encoder(store, reads.encoder_hash, "the identifier was trained for", "protect with its defence")
    return stores


def open_known(folder: Path | None, reads: LightningModule | None) -> TensorStore | None:
    """The store of photographs that the attacker had protected, for whoever compares with them.

    Raises:
        ValueError: nobody does, or they are of another encoder.
    """
    if folder is None:
        return None
    if not isinstance(reads, Matcher):
        raise ValueError("`known` names photographs for a Matcher to compare with; name one as identifier")
    store = TensorStore.open(folder)
    check_encoder(store, reads.encoder_hash, "the identifier was trained for", "protect with its defence")
    return store


def enrol(
    oracles: Mapping[str, IdentityOracle], data: FaceDataModule, faces: Faces, seed: int
) -> list[Judge]:
    """The oracles as judges, who know the private people from their private-train photographs."""
    known, cache = data.faces("private_train"), data.cache_dir
    return [Judge(name, oracle, known, faces, seed, cache) for name, oracle in oracles.items()]


def compare(
    restarts: Restarts,
    faces: Faces,
    judges: Sequence[Judge],
    likeness: Likeness,
    average: AverageFaces | None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Reconstructions with their originals: a row for each judge and restart, and the lines of each image."""
    alike = restarts.with_best([likeness.of(images, faces.images) for images in restarts.images])
    distances = average.distances(restarts) if average else dict.fromkeys(restarts.names, NO_DISTANCE)
    rows, per_image = [], []
    for key, verdict, judged in judgements(judges, restarts):
        restart = key["restart"]
        figures = likeness.means(alike[restart]) | distances[restart] | judged
        rows.append({"seconds": restarts.seconds} | key | figures)
        per_image += lines_per_image(key, faces, vars(verdict) | dict(alike[restart]))
    return rows, per_image


def judgements(
    judges: Sequence[Judge], restarts: Restarts
) -> Iterator[tuple[dict[str, str], Verdict, dict[str, float]]]:
    """For every judge and restart which they are, what is said of each image, and of all."""
    for judge in judges:
        seen = restarts.with_best([vars(judge.see(images)) for images in restarts.images])
        for restart, made in seen.items():
            sight = Sight(**made)
            verdict = judge.verdict(sight)
            yield {"oracle": judge.name, "restart": restart}, verdict, judge.columns(sight, verdict)


def load_oracle(oracle: TrainedOracle | IdentityOracle) -> IdentityOracle:
    """The oracle, trained by a fit or named by its class, in eval mode."""
    return (
        load_artifact(oracle.artifact, IdentityOracle) if isinstance(oracle, TrainedOracle) else oracle.eval()
    )


@for_owner_alone()
def main(args: Sequence[str] | None = None) -> None:
    auto_cli(run, args=args, as_positional=False)


if __name__ == "__main__":
    ends_in_sentences(main)()
