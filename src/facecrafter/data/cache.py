"""Pictures decoded once: a memory-mapped uint8 array beside the hash of what it came from."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .decode import Pixels

Pictures = Iterable[tuple[Pixels, str]]
"""Pixels (3, S, S) and the sha256 of the bytes they came from, one pair per picture."""

_NOT_WORTH_A_BAR_S = 2.0


@dataclass(frozen=True)
class ImageCache:
    """``path`` names an array (N, 3, S, S); ``sha256`` lists the N hashes of the originals."""

    path: Path
    sha256: list[str]

    def pixels(self, positions: object) -> Pixels:
        """Pixels (n, 3, S, S). Opened anew every time, so that worker processes never inherit or pickle a
        mapping."""
        picked: Pixels = np.load(self.path, mmap_mode="r")[positions]
        return picked


def open_cache(
    folder: Path, name: str, source: str, count: int, size: int, pictures: Callable[[], Pictures]
) -> ImageCache:
    """The cache ``name`` in ``folder`` if it was made from ``source`` (a hash), otherwise made now from
    ``pictures()``.

    Processes that ask at once wait for the one that builds. A half-built array is never taken for a whole
    one: the array and then its description are renamed into place when complete.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.npy"
    with _locked(folder / f"{name}.lock"):
        cached = _read(path, source, count, size)
        return cached or _build(path, source, count, size, pictures())


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:  # the kernel drops the lock with the process, however it ends
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read(path: Path, source: str, count: int, size: int) -> ImageCache | None:
    try:
        description = json.loads(path.with_suffix(".json").read_text())
        same = description["source"] == source and len(description["sha256"]) == count
        whole = np.load(path, mmap_mode="r").shape == (count, 3, size, size)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return ImageCache(path, description["sha256"]) if same and whole else None


def _build(path: Path, source: str, count: int, size: int, pictures: Pictures) -> ImageCache:
    path.with_suffix(".json").unlink(missing_ok=True)
    partial = path.with_suffix(".partial")
    hashes = []
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, 3, size, size)}
    bar = tqdm(
        pictures, f"decoding {path.stem}", count, unit="picture", mininterval=1, delay=_NOT_WORTH_A_BAR_S
    )
    try:
        with partial.open("wb") as file:  # plain writes: a mapping would hold every page it touched
            np.lib.format.write_array_header_2_0(file, header)
            for pixels, digest in bar:
                file.write(pixels.tobytes())
                hashes.append(digest)
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    description = path.with_suffix(".json.partial")
    description.write_text(json.dumps({"source": source, "sha256": hashes}))
    description.replace(path.with_suffix(".json"))
    return ImageCache(path, hashes)
