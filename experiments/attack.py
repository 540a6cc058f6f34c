"""Run one attack on one store of features.

    python -m experiments.attack --config C.yaml

    features: artifacts/crafter/features       # a store of features
    defence: artifacts/crafter                 # gives the encoder, which must have made the features
    attack: {class_path: facecrafter.attacks.WhiteBox, init_args: {iterations: 600, restarts: 3}}
    networks: {prior: artifacts/prior}         # the attack's other networks, by the name of its argument
    layers: {hidden: 1.0}                      # of f: inverts what it makes of the features there
    output: artifacts/white_box                # receives the store of reconstructions

A run that was killed and is started again redoes at most the batch in hand.
"""

from __future__ import annotations

import copy
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch
from jsonargparse import auto_cli
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from tqdm import tqdm

from experiments import machine
from experiments.classes import import_class, nearest
from experiments.errors import ends_in_sentences
from facecrafter.attacks import Attack
from facecrafter.documents import read_json
from facecrafter.files import checked_path, for_owner_alone
from facecrafter.nets.through_head import ThroughHead
from facecrafter.store import TensorStore, check_encoder, encoder_hash
from lightning_modules.artifacts import FeatureReader, load_artifact
from lightning_modules.defences.base import Defence

VERSION = 1
"""Raised when what this command computes changes: a study then computes it again."""

Reads = Callable[[Tensor], Tensor]
"""From features (N, C, h, w) to what an attack is given of them."""


class AttackSpec(TypedDict):
    """An attack's class by its import path, and its constructor's arguments other than networks."""

    class_path: str
    init_args: NotRequired[dict[str, Any]]


class Candidate(TypedDict):
    """What one candidate of a search adds to an attack: arguments, and artifact folders of networks."""

    init_args: NotRequired[dict[str, Any]]
    networks: NotRequired[dict[str, Path]]


def run(
    features: Path,
    defence: Path,
    attack: AttackSpec,
    output: Path,
    networks: dict[str, Path] | None = None,
    layers: dict[str, float] | None = None,
    candidates: dict[str, Candidate] | None = None,
    choice: Path | None = None,
    batch_size: int = 64,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Reconstruct images from features.

    Args:
        features: folder of a store of features.
        defence: artifact folder of the defence that made them; its encoder is the attack's ``encoder``.
        attack: the attack.
        output: folder that receives the store of reconstructions.
        networks: artifact folder, of a module with ``network``, for each other network of the attack.
        layers: weights of layers of the defence's head f, see ThroughHead: the attacker knows f too, and
            inverts h ∘ encoder from h(F), what f makes of a feature there.
        candidates: in place of ``networks``, what was tried on public people; see experiments.search.
        choice: choice.json, which says which of them.
        batch_size: at most this many images are attacked at once; it changes memory and time, not results.
        seed: of the random starts.
        device: auto (the GPU where there is one), cpu, cuda, cuda:1, ...
    """
    checked_path(output, "the output")
    machine.compute_on(device)
    source = TensorStore.open(features)
    chosen: Candidate = {"networks": networks or {}}
    if choice is not None:
        chosen = (candidates or {})[read_json(choice, "run the search again")["chosen"]]
    reader = open_reader(defence, source, attack, chosen, layers)
    reconstruct_all(reader, source, output, reader.meta | {"seed": seed}, batch_size)


@dataclass(frozen=True)
class Reader:
    """An attack with its networks.

    Attributes:
        attack: what inverts.
        reads: what it is given of features.
        meta: what a store of its reconstructions says of it.
    """

    attack: Attack
    reads: Reads
    meta: dict[str, Any]


def open_reader(
    defence: Path,
    source: TensorStore,
    attack: AttackSpec,
    candidate: Candidate,
    layers: Mapping[str, float] | None,
) -> Reader:
    """The attack on the features in `source`, with the arguments and networks that `candidate` adds.

    Raises:
        ValueError: what does not belong to these features, or to each other.
    """
    target = load_artifact(defence, Defence)
    encoder = target.encoder
    check_encoder(source, encoder_hash(encoder), f"{defence} has", "name the defence that made it")
    init_args = {**attack.get("init_args", {}), **candidate.get("init_args", {})}
    networks = candidate.get("networks", {})
    parts = {name: load_network(Path(folder), source, layers) for name, folder in networks.items()}
    meta = {
        "kind": "reconstructions",
        "dtype": "float32",
        "encoder": source.meta["encoder"],
        "batches": source.meta["batches"],
        "features": source.fingerprint(),
        "queries": source.meta.get("queries", []),
        "attack": attack["class_path"],
        "init_args": init_args,
        "networks": {name: encoder_hash(network) for name, network in parts.items()},
    }
    reads: Reads = as_they_are
    if layers:
        meta["layers"] = dict(layers)
        through = ThroughHead(target.head, layers)
        # The attack moves its own networks to where the features are.
        encoder, reads = nn.Sequential(encoder, through), copy.deepcopy(through).to(machine.device())
    spec: AttackSpec = {"class_path": attack["class_path"], "init_args": init_args}
    return Reader(build(spec, encoder, parts), reads, meta)


def load_network(folder: Path, features: TensorStore, layers: Mapping[str, float] | None = None) -> nn.Module:
    """What an attack on ``features``, or on what f makes of them in ``layers``, uses of an artifact: the
    module's ``network``.

    Raises:
        ValueError: the module has none, or reads the features of another encoder, or other layers of f.
    """
    module = load_artifact(folder, LightningModule)
    network = getattr(module, "network", None)
    if not isinstance(network, nn.Module):
        raise ValueError(f"{folder} holds a {type(module).__name__}, which has no network to attack with")
    if isinstance(module, FeatureReader):
        remedy = "train one for that encoder (in a study, the defence says which network it replaces)"
        check_encoder(features, module.encoder_hash, f"{folder} was trained for", remedy)
        if module.layers != dict(layers or {}):
            raise ValueError(
                f"{folder} was trained for layers {module.layers or 'none'} of f, but the attack reads "
                f"{layers or 'none'}; give both the same"
            )
    return network


def import_attack(class_path: str, where: str) -> type[Attack]:
    """The attack `package.module.Class`, which `where` in a configuration names.

    Raises:
        ValueError: it cannot be imported, or is no attack.
    """
    found = import_class(class_path, where)
    # Found out before anything is constructed: the constructor of some other class may do anything.
    if not callable(getattr(found, "reconstruct", None)):
        raise ValueError(
            f"{where}: {class_path!r} is no attack, it has no method `reconstruct`; see "
            "facecrafter.attacks.Attack"
        )
    return found


def build(spec: AttackSpec, encoder: nn.Module, networks: dict[str, nn.Module]) -> Attack:
    """The attack with its networks.

    Raises:
        ValueError: the class does not exist, is no attack, or does not take these arguments.
    """
    attack_class = import_attack(spec["class_path"], "attack.class_path")
    signature = inspect.signature(attack_class)
    arguments = {**spec.get("init_args", {}), **networks}
    if "encoder" in signature.parameters:
        arguments["encoder"] = encoder
    try:
        signature.bind(**arguments)
    except TypeError as error:
        unknown = [name for name in arguments if name not in signature.parameters]
        hint = nearest(unknown[0], [*signature.parameters], attack_class) if unknown else ""
        raise ValueError(f"{spec['class_path']} does not take {sorted(arguments)}: {error}{hint}") from error
    return attack_class(**arguments)


def as_they_are(features: Tensor) -> Tensor:
    """What an attack reads that does not look behind the split."""
    return features


def reconstruct_all(
    reader: Reader, source: TensorStore, output: Path, meta: dict[str, Any], batch_size: int
) -> None:
    """Attack the batches that are not in ``output`` yet; each is on disk when it is done."""
    store = None  # its shape is known when the first batch is
    if (output / "meta.json").exists():
        store = TensorStore.create(output, {**meta, "shape": TensorStore.open(output).meta["shape"]})
    # What a run that was killed has finished: every batch has random numbers of its own, so the rest is the
    # same.
    done = store.numbers() if store else set()
    bar = tqdm(
        desc=type(reader.attack).__name__,
        total=source.meta["batches"],
        initial=len(done),
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed} done, {remaining} to go",
    )
    with bar:
        for number in sorted(source.numbers() - done):
            batch = reconstruct_batch(reader, source.read(number), meta["seed"], batch_size, bar)
            store = store or TensorStore.create(output, {**meta, "shape": batch["images"].shape[1:]})
            store.write(number, **batch)


@dataclass
class BatchProgress:
    """Moves ``bar`` from ``start`` by ``share`` of a batch while an attack goes on."""

    bar: tqdm
    start: float
    share: float

    def __call__(self, done: int, total: int) -> None:
        self.bar.update(self.start + self.share * done / total - self.bar.n)


def reconstruct_batch(
    reader: Reader, batch: dict[str, Tensor], seed: int, batch_size: int, bar: tqdm
) -> dict[str, Tensor]:
    """One batch of a store of reconstructions; ``seconds`` is each image's share of the time it took."""
    rng = torch.Generator().manual_seed(seed)
    parts = []
    for part in torch.arange(len(batch["row"])).split(batch_size):
        rows, features = batch["row"][part], batch["features"][part]
        progress = BatchProgress(bar, bar.n, len(part) / len(batch["row"]))
        before = time.monotonic()
        with torch.no_grad():
            read = reader.reads(features.float().to(machine.device()))
        result = reader.attack.reconstruct(read, rng, progress, rows)
        images, losses = result.images.cpu(), result.losses.cpu()
        seconds = torch.full((len(rows),), (time.monotonic() - before) / len(rows))
        parts.append({"row": rows, "images": images, "losses": losses, "seconds": seconds})
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


@for_owner_alone()
def main(args: Sequence[str] | None = None) -> None:
    auto_cli(run, args=args, as_positional=False)


if __name__ == "__main__":
    ends_in_sentences(main)()
