"""stage.json, which says that a stage is done, what it cost, and what the files are that it left."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.study.mirror import MARKER
from facecrafter.documents import read_json
from facecrafter.files import write_whole

KNOW_THEMSELVES = {".safetensors", ".ckpt"}
"""Endings of large files that have a checksum of their own, compared whenever they are loaded."""
NO_RESULT = {MARKER, "stage.log", "wandb", "images", "slurm"}
"""Names in a stage's folder of what is shown, or goes on changing."""
REMEDY = "bring back a copy, or delete the folder and run the study again: the stage is computed anew"


def write_marker(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the marker of a stage that is done, with the checksums of its files and of itself."""
    files = {str(path.relative_to(folder)): _sha256(path) for path in _results(folder)}
    whole = {**content, "files": files}
    write_whole(folder / MARKER, json.dumps({**whole, "sha256": _of(whole)}, indent=2))


def read_marker(folder: Path) -> dict[str, Any]:
    """The marker in a stage's folder.

    Raises:
        FileNotFoundError: the stage is not done.
        ValueError: it is damaged.
    """
    content = read_json(folder / MARKER, REMEDY)
    if not isinstance(content, dict):
        raise ValueError(f"{folder / MARKER} is damaged: it holds no JSON object; {REMEDY}")
    checksum = content.pop("sha256", None)
    # One of an earlier version has neither; one whose checksum has another name is damaged.
    if (checksum is not None or "files" in content) and checksum != _of(content):
        raise ValueError(f"{folder / MARKER} is damaged: it is not what was written; {REMEDY}")
    return content


def verified(folder: Path) -> Path:
    """The folder of a finished stage, each small file in it what it was when the stage was done.

    Raises:
        FileNotFoundError: the stage is not done, or a file is gone.
        ValueError: a file is damaged, naming it and the remedy.
    """
    for name, known in read_marker(folder).get("files", {}).items():
        path = folder / name
        if not path.parent.is_dir():
            continue  # somebody made room: what is gone whole misleads nobody
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; {REMEDY}")
        if _sha256(path) != known:
            raise ValueError(f"{path} is damaged: it has another sha256 than {MARKER} says; {REMEDY}")
    return folder


def _results(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") or part in NO_RESULT for part in parts)
        if path.is_file() and not hidden and path.suffix not in KNOW_THEMSELVES:
            yield path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _of(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
