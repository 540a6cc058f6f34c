"""Pictures decoded once: a memory-mapped uint8 array beside the hashes of what it came from and of what it
holds."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from facecrafter.files import OWNER_ONLY, OWNER_ONLY_FOLDER, make_folder, write_whole, written_whole

from .decode import Pixels
from .refusals import Refusals

log = logging.getLogger(__name__)

VERSION = 2
"""The version of the files' format: part of what a cache is named by."""

Pictures = Iterator[tuple[Pixels, str]]
"""Pixels (3, S, S) and the sha256 of the bytes they came from, one pair per picture.

For a picture that cannot be used it raises ValueError or OSError, and goes on with the next one if it can."""

_NOT_WORTH_A_BAR_S = 2.0
_OURS = (".npy", ".json", ".lock", ".safetensors", ".tmp", ".partial")
"""Endings of what lies in a cache's folder: embeddings of the pictures among it, and what a kill left."""
_EARLIER = 8
"""Caches, at most, in which pictures are looked for that need not be decoded again."""


@dataclass(frozen=True)
class ImageCache:
    """``path`` names an array (N, 3, S, S); ``sha256`` lists the N hashes of the originals, ``digests`` those
    of the pixels: two pictures with the same digest look the same."""

    path: Path
    sha256: list[str]
    digests: list[str]

    def pixels(self, positions: object) -> Pixels:
        """Pixels (n, 3, S, S). Opened anew every time, so that worker processes never inherit or pickle a
        mapping."""
        picked: Pixels = np.load(self.path, mmap_mode="r")[positions]
        return picked


@dataclass(frozen=True)
class Wanted:
    """What a cache shall hold.

    Attributes:
        source: hash of what the pictures come from.
        count: how many there are, N.
        size: their side in pixels, S.
        keys: names every picture and what changes it: what was decoded under the same key is taken over from
            earlier caches. Empty keys are never taken over.
        pictures: makes those in the given positions, in order.
    """

    source: str
    count: int
    size: int
    keys: Callable[[], Sequence[str]]
    pictures: Callable[[NDArray[np.int64]], Pictures]


def open_cache(folder: Path, name: str, wanted: Wanted) -> ImageCache:
    """The cache ``name`` in ``folder`` if it holds what is wanted, every byte of it; otherwise made now.

    Faces are for their owner alone: the files are, and the folder if nothing else is in it. Processes that
    ask at once wait for the one that builds. A half-built array is never taken for a whole one: the array and
    then its description are renamed into place when complete. If some pictures cannot be used, the others are
    kept for the next try.

    Raises:
        ValueError: pictures cannot be used (all are counted, the first ones named), or the folder cannot be
            written to.
    """
    path = folder / f"{name}.npy"
    if found := _read(path, wanted):  # without the lock, so that a folder may be read-only
        return found
    needed = wanted.count * _bytes_each(wanted)
    with _explained(folder, needed):
        _make_private(folder)
        with _locked(folder / f"{name}.lock"):
            if found := _read(path, wanted):  # somebody else built it while we waited
                return found
            if path.exists():
                log.warning("%s is unfinished or damaged: made again, but for what is whole in it", path)
            return _build(path, wanted)


@contextmanager
def _explained(folder: Path, needed: int) -> Iterator[None]:
    """Turns an error of the file system into a sentence that says what would help."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        help_ = f"free {_readable(needed)} there" if full else "make it writable"
        raise ValueError(
            f"{folder}: cannot keep the decoded pictures ({_readable(needed)}) there: "
            f"{error.strerror or error}; {help_}, or name another folder as cache_dir or in FACECRAFTER_CACHE"
        ) from error


def _readable(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(count / 1e6, 0.1):.1f} MB"


def _make_private(folder: Path) -> None:
    make_folder(folder)
    status = folder.stat()
    ours = all(entry.suffix in _OURS for entry in folder.iterdir())
    if ours and status.st_mode & 0o077 and status.st_uid == os.geteuid():
        folder.chmod(OWNER_ONLY_FOLDER)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with _lock_file(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # the kernel drops the lock with the process, however it ends
        yield


def _lock_file(path: Path) -> IO[str]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, OWNER_ONLY), "w")


def _bytes_each(wanted: Wanted) -> int:
    return 3 * wanted.size**2


def _digest(pixels: Pixels) -> str:
    return hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16).hexdigest()


def _read(path: Path, wanted: Wanted) -> ImageCache | None:
    """The whole and undamaged cache, if there is one."""
    described = _described(path)
    if described is None or described["source"] != wanted.source or "" in described["digests"]:
        return None
    pixels = _array(path, wanted.count, wanted.size)
    digests = described["digests"]
    if pixels is None or len(digests) != len(pixels):
        return None
    whole = all(_digest(each) == digest for each, digest in zip(pixels, digests, strict=True))
    return ImageCache(path, described["sha256"], digests) if whole else None


def _described(path: Path) -> dict[str, Any] | None:
    """The description of a cache; None where there is none, or one that is not as it was written."""
    try:
        checksum, _, content = path.with_suffix(".json").read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("%s: %s", path.with_suffix(".json"), error.strerror)
        return None
    if hashlib.blake2b(content).hexdigest().encode() != checksum:
        return None
    described: dict[str, Any] = json.loads(content)
    return described


def _array(path: Path, count: int, size: int) -> Pixels | None:
    """The pixels (count, 3, size, size) in a file; None where it has another length or beginning."""
    header = _header(count, size)
    try:
        with path.open("rb") as file:
            same = file.read(len(header)) == header
        if not same or path.stat().st_size != len(header) + count * 3 * size**2:
            return None
        return np.memmap(path, np.uint8, "r", len(header), (count, 3, size, size))
    except OSError:
        return None


def _header(count: int, size: int) -> bytes:
    """What a file of numpy's begins with; in this form it does not depend on the machine."""
    file = io.BytesIO()
    shape = (count, 3, size, size)
    np.lib.format.write_array_header_2_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.getvalue()


def _build(path: Path, wanted: Wanted) -> ImageCache:
    count, keys = wanted.count, wanted.keys()
    earlier = _Earlier(path, keys, wanted.size)  # before the file that may be one of them is replaced
    sha256, digests = [""] * count, [""] * count
    refusals = Refusals()
    path.with_suffix(".json").unlink(missing_ok=True)
    with written_whole(path) as file:  # plain writes: a mapping would hold every page it touched
        start = file.write(_header(count, wanted.size))
        _reserve(file, start + count * _bytes_each(wanted))
        for position, pixels, digest in _all_pictures(wanted, keys, earlier, refusals, path.stem):
            file.seek(start + position * _bytes_each(wanted))
            file.write(pixels.tobytes())
            sha256[position], digests[position] = digest, _digest(pixels)
    content = {"source": wanted.source, "keys": list(keys), "sha256": sha256, "digests": digests}
    _describe(path, content)
    earlier.remove_unfinished(path)
    if refusals.count == count:
        path.unlink()  # there is nothing to keep
    refusals.check(f"{{}} of {count} pictures cannot be used")
    if "" in digests:
        raise ValueError(f"{digests.count('')} of {count} pictures were neither made nor refused")
    return ImageCache(path, sha256, digests)


def _describe(path: Path, described: dict[str, Any]) -> None:
    content = json.dumps(described).encode()
    checksum = hashlib.blake2b(content).hexdigest().encode()
    write_whole(path.with_suffix(".json"), checksum + b"\n" + content)


def _reserve(file: BinaryIO, length: int) -> None:
    """Take the room before hours of decoding, not after, where the file system can."""
    try:
        os.posix_fallocate(file.fileno(), 0, length)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        file.truncate(length)


def _all_pictures(
    wanted: Wanted, keys: Sequence[str], earlier: _Earlier, refusals: Refusals, what: str
) -> Iterator[tuple[int, Pixels, str]]:
    """Position, pixels and sha256 of every picture that can be used; what cannot goes to the refusals."""
    remaining = []
    for position, key in enumerate(keys):
        if found := earlier.find(key):
            yield position, *found
        else:
            remaining.append(position)
    pictures = wanted.pictures(np.array(remaining, dtype=np.int64))
    bar = tqdm(remaining, f"decoding {what}", unit="picture", mininterval=1, delay=_NOT_WORTH_A_BAR_S)
    for position in bar:
        try:
            pixels, digest = next(pictures)
        except StopIteration:  # its generator ended with the error before
            return
        except (ValueError, OSError) as error:
            refusals.add(str(error))
            continue
        yield position, pixels, digest


class _Earlier:
    """Pictures in caches of the same kind that need not be decoded again."""

    def __init__(self, path: Path, keys: Sequence[str], size: int) -> None:
        self._found: dict[str, tuple[Pixels, str, str]] = {}
        self._unfinished: list[Path] = []
        for other in self._others(path) if any(keys) else ():
            described = _described(other)
            pixels = _array(other, len(described["keys"]), size) if described else None
            if described is None or pixels is None:
                continue
            if "" in described["digests"]:
                self._unfinished.append(other)
            columns = (described["keys"], pixels, described["sha256"], described["digests"])
            for key, *picture in zip(*columns, strict=True):
                if key and picture[2]:
                    self._found[key] = (picture[0], picture[1], picture[2])

    @staticmethod
    def _others(path: Path) -> list[Path]:
        kind = path.stem.rpartition("-")[0]
        others = [file.with_suffix(".npy") for file in path.parent.glob(f"{kind}-*.json")]
        return sorted(filter(Path.exists, others), key=os.path.getmtime)[-_EARLIER:]

    def remove_unfinished(self, path: Path) -> None:
        """What they kept is in the new cache, `path`, now; each repair would leave another one behind."""
        for other in self._unfinished:
            with _lock_file(other.with_suffix(".lock")) as lock, suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                described = _described(other)
                if other != path and described and "" in described["digests"]:
                    other.with_suffix(".json").unlink()
                    other.unlink()

    def find(self, key: str) -> tuple[Pixels, str] | None:
        """Pixels and sha256, unless the pixels were damaged meanwhile."""
        if key not in self._found:
            return None
        pixels, sha256, digest = self._found[key]
        return (pixels, sha256) if _digest(pixels) == digest else None
