"""Photographs in, features out: what an application does with a defence that a run left behind.

protector = Protector("studies/demo/artifacts/crafter.beta=0.3-0123456789ab")
features = protector(["me.jpg"])  # (1, C, h, w)
"""

from __future__ import annotations

import csv
import io
import json
import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from experiments.machine import device
from facecrafter.cells import neutral
from facecrafter.crafter.release import DownToFloor
from facecrafter.crafter.utility import PublicLayers
from facecrafter.documents import read_yaml
from facecrafter.files import write_whole
from facecrafter.photographs import find, fingerprint, left_out, read, read_ahead
from facecrafter.store import TensorStore, encoder_hash
from lightning_modules.artifacts import CONFIG_FILE, load_artifact
from lightning_modules.defences.base import Defence


class Protector:
    """A defence, on `device()`, and how it is shown its pictures.

    Args:
        run: what experiments.fit left behind.
        crop: side of the centred square that is taken of each picture, 0 for the largest; default: as the
            run's own data.
        query: how often the same pictures were protected before.

    Attributes:
        defence: the module.
        size: side of its images in pixels.
    """

    def __init__(self, run: str | Path, crop: int | None = None, query: int = 0) -> None:
        self.defence = load_artifact(run, Defence).to(device())
        self.defence.query = query
        shown = _data(read_yaml(Path(run, CONFIG_FILE), "run the fit again, which writes it"))
        self.size: int = shown["image_size"]
        self.crop: int | None = (shown.get("crop") if crop is None else crop) or None

    def __call__(self, files: Sequence[str | Path], number: int = 0) -> Tensor:
        """The features (N, C, h, w) of some photographs, which are protected together.

        Args:
            number: of the batch; each draws other random numbers.

        Raises:
            FileNotFoundError: one is not there.
            ValueError: some are no pictures, all of which are named.
        """
        return self.protect(read(files, self.size, self.crop), number)

    def protect(self, images: Tensor, number: int = 0) -> Tensor:
        """The features (N, C, h, w) of images (N, 3, size, size) in [0, 1]; see `__call__`."""
        defence, images = self.defence, images.to(device())
        with torch.no_grad():
            step = {"image": images, "row": torch.arange(len(images)), "number": number}
            made = defence.predict_step(step, 0)
        return made["features"].cpu()  # type: ignore[index]  # there are images

    def parts(self) -> dict[str, float]:
        """What the device has to hold, in megabytes of weights."""
        return {name: _megabytes(network) for name, network in _networks(self.defence).items()}


def photographs(
    images: Path,
    defence: Path,
    output: Path,
    batch_size: int = 64,
    crop: int | None = None,
    query: int = 0,
) -> None:
    """Protect every picture in a folder.

    Args:
        images: the folder, or one picture.
        defence: artifact folder of the defence.
        output: folder that receives the store features/, which may be sent, and for the device alone
            index.csv (which file is which row), pictures.key (by which what was protected is known again) and
            device.json.
        batch_size: pictures that are protected together: a defence that compares what it makes with average
            faces does so for all of them.
        crop: side of the centred square that is taken of each picture, 0 for the largest; default: as the
            run's own data.
        query: how often the same pictures were protected before.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    files = find(images)
    root = images if images.is_dir() else images.parent
    names = [file.relative_to(root).as_posix() for file in files]
    if others := left_out(images, files):
        print(
            f"left out {len(others)} files that are no pictures by their ending, such as {others[0]}; HEIC "
            "has to be converted",
            file=sys.stderr,
        )
    protector = Protector(defence, crop, query)
    batches = [files[start : start + batch_size] for start in range(0, len(files), batch_size)]
    features = output / "features"
    key = _key(output / "pictures.key")
    meta = _meta(protector, batch_size, len(batches)) | {
        "files": fingerprint(dict(zip(names, files, strict=True)), key),
        "defence": fingerprint({CONFIG_FILE: defence / CONFIG_FILE}, key),
    }
    store, done = None, set[int]()  # the shape of a feature is known when the first is made
    if (features / "meta.json").is_file():
        stored = TensorStore.open(features).meta
        store = TensorStore.create(features, {**meta, "shape": stored["shape"], "dtype": stored["dtype"]})
        done = store.numbers()
    missing = sorted(set(range(len(batches))) - done)
    # All of them, before the first is protected: that may take hours.
    shown = protector.size, protector.crop
    known = read_ahead([file for number in missing for file in batches[number]], *shown)
    write_index(output / "index.csv", names, batch_size)
    began, count = time.monotonic(), 0
    for number in tqdm(missing, desc="protecting", unit="batch"):
        found = protector.protect(read(batches[number], *shown, known), number)
        kind = {"shape": list(found.shape[1:]), "dtype": str(found.dtype).removeprefix("torch.")}
        store = store or TensorStore.create(features, meta | kind)
        first = number * batch_size
        store.write(number, row=torch.arange(first, first + len(found)), features=found)
        count += len(found)
    if count:
        tell(output / "device.json", protector, count, (time.monotonic() - began) / count)
    else:
        print(f"all {len(files)} pictures were protected before")


def tell(path: Path, protector: Protector, count: int, each: float) -> None:
    """Write and print what the device holds, how long an image took, and what is proved of its features."""
    parts = {name: round(size, 1) for name, size in protector.parts().items()}
    bits = protector.defence.bits
    told = {"megabytes": parts, "seconds_per_image": round(each, 3), "bits": bits}
    write_whole(path, json.dumps(told, indent=2))
    held = ", ".join(f"{name} {size} MB" for name, size in parts.items())
    print(f"{count} pictures, {each:.2f} s each; the device holds: {held}")
    if bits is not None:
        print(
            "proved: of M people who are equally likely otherwise, whoever has a picture's features names "
            f"the right one in at most {2**bits}/M of the cases; k pictures of a person tell {bits}k bits"
        )


def write_index(path: Path, names: Sequence[str], batch_size: int) -> None:
    """Which file of the folder is which row of which batch; see `facecrafter.cells.neutral` of the names."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(("file", "row", "batch"))
    writer.writerows((neutral(name), row, row // batch_size) for row, name in enumerate(names))
    write_whole(path, file.getvalue())


def _key(path: Path) -> bytes:
    """The secret of this output's fingerprint, made where there is none."""
    if not path.is_file():
        write_whole(path, secrets.token_bytes(32))
    return path.read_bytes()


def _meta(protector: Protector, batch_size: int, batches: int) -> dict[str, Any]:
    """Describes the store; features of other batches or by other networks do not go into it."""
    networks = {name: encoder_hash(network) for name, network in _networks(protector.defence).items()}
    return {
        "kind": "features",
        "batches": batches,
        "batch_size": batch_size,
        "query": protector.defence.query,
        "crop": protector.crop,
        "networks": networks,
        **protector.defence.meta(),
    }


def _data(config: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the face data that a run was fitted with."""
    arguments: dict[str, Any] = config["data"]["init_args"]
    while "image_size" not in arguments:
        arguments = arguments["data"]["init_args"]
    return arguments


def _networks(defence: Defence) -> dict[str, nn.Module]:
    """Encoder, what a defence crafts or releases with, and what it misleads; and where what the cloud's head
    makes of a feature is kept, that head."""
    found: dict[str, nn.Module] = {"encoder": defence.encoder}
    crafts = getattr(defence, "crafting", defence)
    named = {
        "generator": getattr(getattr(crafts, "model", crafts), "generator", None),
        "eraser": getattr(crafts, "eraser", None),
        "kept answers": getattr(getattr(crafts, "release", None), "keep", None),
    }
    parts = (getattr(crafts, name, None) for name in ("release", "utility"))
    if any(isinstance(part, DownToFloor | PublicLayers) for part in parts):
        named["head"] = defence.head
    found |= {name: network for name, network in named.items() if isinstance(network, nn.Module)}
    for number, network in enumerate(getattr(defence, "surrogates", ())):
        if isinstance(network, nn.Module):
            found[f"surrogate {number}"] = network
    return found


def _megabytes(network: nn.Module) -> float:
    return sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values()) / 1e6
