"""Flipped bits in what a study left: each is named when the file is used."""

from __future__ import annotations

import random
import re
from collections import Counter
from pathlib import Path

from pytorch_lightning import LightningModule

from experiments.report.results import gather
from facecrafter.store import TensorStore
from lightning_modules.artifacts import load_artifact
from lightning_modules.checkpoints import load_checkpoint

NAMED, HARMLESS = "named", "harmless"
LEFT_OUT = {"stage.log", ".lock", "epoch-N.png"}
"""Kinds of files that hold no number: what a stage printed, who works in a folder, a sheet for the eye."""
HARMLESS_IN = {"*.sha256": "the name beside a checksum, which stands in the file's own name"}
"""Kinds of files in which some flipped bits change no number, and which."""


def kind(path: Path) -> str:
    """'000003.safetensors' and '000007.safetensors' are one kind."""
    if path.suffix == ".sha256":
        return "*.sha256"
    return re.sub(r"\d+", "N", path.name)


def use(study: Path, path: Path) -> None:
    """Do with a file what the commands do that need it."""
    file = path.with_suffix("") if path.suffix == ".sha256" else path
    if file.suffix == ".safetensors" and file.stem.isdigit():
        TensorStore.open(file.parent).read(int(file.stem))
    elif file.suffix == ".ckpt":
        load_checkpoint(file)
    elif file.name in ("weights.safetensors", "config.yaml"):
        load_artifact(file.parent, LightningModule)
    else:
        gather(study)


def flip(study: Path, times: int, seed: int) -> tuple[Counter[tuple[str, str]], list[str]]:
    """Flip one bit at a time, in files of every kind equally often.

    Returns:
        How many flips of each kind of file were `NAMED`, or `HARMLESS`; and what went wrong:
        flips that nobody named, or without saying where.
    """
    rng, outcomes, wrong = random.Random(seed), Counter[tuple[str, str]](), []
    files: dict[str, list[Path]] = {}
    for path in sorted([*(study / "artifacts").rglob("*"), study / "study.yaml", study / "plan.json"]):
        if path.is_file() and path.stat().st_size and kind(path) not in LEFT_OUT:
            files.setdefault(kind(path), []).append(path)
    for turn in range(times):
        what = sorted(files)[turn % len(files)]
        path = rng.choice(files[what])
        content = path.read_bytes()
        place, bit = rng.randrange(len(content)), rng.randrange(8)
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
        try:
            use(study, path)
        except (ValueError, FileNotFoundError) as error:
            outcomes[what, NAMED] += 1
            if str(path.parent) not in str(error):
                wrong.append(f"{path}, byte {place}, bit {bit}: the error does not say where: {error!s:.300}")
        except Exception as error:
            wrong.append(f"{path}, byte {place}, bit {bit}: {error!r:.300}")
        else:
            outcomes[what, HARMLESS] += 1
            if what not in HARMLESS_IN:
                wrong.append(f"{path}, byte {place}, bit {bit}: nobody noticed")
        finally:
            path.write_bytes(content)
    return outcomes, wrong
