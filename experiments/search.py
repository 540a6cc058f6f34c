"""Choose an attack's settings on public people.

    python -m experiments.search --config C.yaml

    data: {class_path: datamodules.SyntheticFaces, init_args: {image_size: 64}}
    defence: artifacts/crafter
    features: artifacts/crafter.tuning/features      # of public_val images that this defence protected
    oracle: {artifact: artifacts/oracle}             # knows these people by their other photographs
    attack: {class_path: facecrafter.attacks.Hybrid}
    candidates:
      plain: {init_args: {tv: 0.0}, networks: {decoder: artifacts/decoder}}
      smooth: {init_args: {tv: 0.001}, networks: {decoder: artifacts/decoder}}
    output: artifacts/search

Nobody who defends has a say in it, and no private person is looked at: what is chosen is what identifies
most public people from what this defence makes of them. The output receives choice.json: which candidate,
what each of them found, and what the search took.
"""

from __future__ import annotations

import io
import json
import time
from dataclasses import asdict
from pathlib import Path

import torch
from jsonargparse import auto_cli
from torch import Tensor
from tqdm import tqdm

from datamodules.faces import FaceDataModule
from experiments import machine
from experiments.attack import AttackSpec, Candidate, Reader, open_reader, reconstruct_batch
from experiments.errors import ends_in_sentences
from experiments.evaluation.public_judge import PublicJudge
from experiments.measure import TrainedOracle, load_oracle
from facecrafter.attacks import Reconstruction
from facecrafter.files import checked_path, for_owner_alone, write_whole
from facecrafter.store import TensorStore
from lightning_modules.networks.oracle import IdentityOracle

VERSION = 1
"""Raised when what this command computes changes: a study then computes it again."""


def run(
    data: FaceDataModule,
    defence: Path,
    features: Path,
    oracle: TrainedOracle | IdentityOracle,
    attack: AttackSpec,
    candidates: dict[str, Candidate],
    output: Path,
    layers: dict[str, float] | None = None,
    batch_size: int = 64,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Try every candidate, and write which is the best.

    Args:
        data: the faces.
        defence: artifact folder of the defence.
        features: folder of a store of its features of public_val images.
        oracle: who judges identity.
        attack: the attack; what a candidate says goes over its arguments.
        candidates: arguments and networks, by name.
        output: folder that receives choice.json.
        layers: of f that the attack reads; see experiments.attack.
        batch_size: at most this many images are attacked at once.
        seed: of the random starts.
        device: auto (the GPU where there is one), cpu, cuda, cuda:1, ...
    """
    checked_path(output, "the output")
    machine.compute_on(device)
    store = TensorStore.open(features)
    data.prepare_data()
    data.setup("test")
    content = {number: store.read(number) for number in sorted(store.numbers())}
    rows = torch.cat([batch["row"] for batch in content.values()])
    judge = PublicJudge(load_oracle(oracle).to(machine.device()), data, rows)
    found = {}
    for name, candidate in candidates.items():
        before = time.monotonic()
        reader = open_reader(defence, store, attack, candidate, layers)
        score = judge.score(_images(reader, list(content.values()), seed, batch_size))
        found[name] = asdict(score) | {"seconds": time.monotonic() - before}
    best = max(found, key=lambda name: (found[name]["identified"], found[name]["margin"]))
    counts = {"images": int(judge.judged.sum()), "people": judge.people}
    answer = {"chosen": best, **counts, "candidates": found}
    write_whole(output / "choice.json", json.dumps(answer, indent=1))


def _images(reader: Reader, batches: list[dict[str, Tensor]], seed: int, batch_size: int) -> Tensor:
    """(N, 3, H, W): of each image the restart that the attack itself would choose."""
    bar, made = tqdm(total=len(batches), file=io.StringIO()), []
    for batch in batches:
        part = reconstruct_batch(reader, batch, seed, batch_size, bar)
        made.append(Reconstruction(part["images"], part["losses"]).best())
    return torch.cat(made)


@for_owner_alone()
def main(args: list[str] | None = None) -> None:
    auto_cli(run, args=args, as_positional=False)


if __name__ == "__main__":
    ends_in_sentences(main)()
