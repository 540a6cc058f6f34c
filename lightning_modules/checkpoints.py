"""Checkpoint files: written whole, with a checksum beside each that every load compares."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from facecrafter.files import write_whole, written_whole

LAST, PREVIOUS, WEIGHTS = "last.ckpt", "previous.ckpt", "weights.safetensors"


def checksum_file(path: Path) -> Path:
    """Where the checksum of `path` stands, as `sha256sum --check` reads it."""
    return path.with_name(f"{path.name}.sha256")


def verify(path: Path) -> None:
    """Compare a file with the checksum beside it; one that comes from elsewhere has none.

    Raises:
        ValueError: it is not what was written.
    """
    beside = checksum_file(path)
    if not beside.is_file():
        return
    known = {line.partition(" ")[0] for line in beside.read_text(errors="replace").splitlines()}
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() not in known:
            raise ValueError(
                f"{path} is damaged: it has another sha256 than {beside.name} says; {_remedy(path)}"
            )


def write_checked(path: Path, content: bytes | str) -> None:
    """Write a file whole, and its checksum beside it; killed in between, it is there without one."""
    content = content.encode() if isinstance(content, str) else content
    checksum_file(path).unlink(missing_ok=True)
    write_whole(path, content)
    write_whole(checksum_file(path), f"{hashlib.sha256(content).hexdigest()}  {path.name}\n")


def load_checkpoint(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """The content of a checkpoint: tensors and plain values, nothing that runs code.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, naming it and the remedy.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    verify(path)
    try:
        content: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:  # torch's own words would advise to run what is in it
        raise ValueError(
            f"{path} is damaged, or holds more than tensors and plain values, of which nothing was run; "
            f"{_remedy(path)}"
        ) from error
    except Exception as error:  # of zip, torch: whatever the bytes led to
        raise ValueError(f"{path} cannot be read ({error}); {_remedy(path)}") from error
    return content


def _remedy(path: Path) -> str:
    if path.name == LAST and (previous := path.with_name(PREVIOUS)).is_file():
        return f"move {previous.name} and its .sha256 in its place to go on from the epoch before"
    return "delete it and run the fit again, or bring back a copy"


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it; the epoch before is kept until it is whole.

    Of last.ckpt the one before stays as previous.ckpt. While a file is replaced, its checksum file names the
    old content and the new, so that a kill at any moment leaves a pair that agrees.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        path, content = Path(path), io.BytesIO()
        torch.save(checkpoint, content)  # not to the file: of a full disk it would say nothing intelligible
        with written_whole(path) as file:
            file.write(content.getbuffer())
            _announce(path, hashlib.sha256(content.getbuffer()).hexdigest())
        _settle(path)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return load_checkpoint(path, map_location or "cpu")

    def remove_checkpoint(self, path: str | Path) -> None:
        super().remove_checkpoint(path)
        checksum_file(Path(path)).unlink(missing_ok=True)


def _announce(path: Path, new: str) -> None:
    """Note the checksum of what is about to take the place of `path`, beside that of what is there."""
    beside = checksum_file(path)
    old = beside.read_text().splitlines() if beside.is_file() and path.is_file() else []
    if path.name == LAST and path.is_file():
        previous = path.with_name(PREVIOUS)
        checksum_file(previous).unlink(missing_ok=True)
        link = path.with_name(f"{PREVIOUS}.tmp")
        link.unlink(missing_ok=True)
        # A second name for the same bytes: nothing is copied, and renaming it over is one step.
        os.link(path, link)
        link.replace(previous)
        if old:
            lines = [f"{line.partition(' ')[0]}  {PREVIOUS}\n" for line in old]
            write_whole(checksum_file(previous), "".join(lines))
    write_whole(beside, "\n".join([f"{new}  {path.name}", *old]) + "\n")


def _settle(path: Path) -> None:
    """The new content is in its place: forget the checksum of the old."""
    beside = checksum_file(path)
    write_whole(beside, beside.read_text().splitlines()[0] + "\n")


def save_weights(path: Path, state: Mapping[str, Any], fingerprint: str) -> None:
    """Write a state dict as safetensors; what is no tensor in it stands in the header as JSON."""
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items() if _is(value)}
    extra = {name: value for name, value in state.items() if not _is(value)}
    header = {"extra": json.dumps(extra), "fingerprint": fingerprint}
    write_checked(path, save(tensors, header))


def load_weights(path: Path) -> dict[str, Any]:
    """The state dict that `save_weights` wrote.

    Raises:
        ValueError: the file is damaged.
    """
    verify(path)
    try:
        with safe_open(path, framework="pt") as file:
            extra = json.loads((file.metadata() or {}).get("extra", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()} | extra  # noqa: SIM118 - no dict
    except Exception as error:
        raise ValueError(f"{path} cannot be read ({error}); {_remedy(path)}") from error


def _is(value: Any) -> bool:
    return isinstance(value, Tensor)
