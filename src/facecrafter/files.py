"""One way to write a file: whole or not at all, whatever happens meanwhile, and for its owner alone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import BinaryIO

OWNER_ONLY, OWNER_ONLY_FOLDER, PUBLIC = 0o600, 0o700, 0o644
"""Permissions. Faces, features and networks that know people are private unless somebody publishes them."""


LONGEST_NAME = 255
"""Bytes in the name of a file, on nearly all file systems."""


def checked_path(path: str | Path, what: str) -> Path:
    """A path that something is about to be written to, as somebody gave it.

    Args:
        what: what it is for, in errors.

    Raises:
        ValueError: no file system would take it, or it would not show as what it is.
    """
    for part in Path(path).parts:
        if hidden := re.search(r"[\x00-\x1f\x7f]", part):
            raise ValueError(f"{what} {str(path)[:80]!r} has the control character {hidden[0]!r} in it")
        if (length := len(os.fsencode(part))) > LONGEST_NAME:
            raise ValueError(f"{what} {part[:40]!r}... has {length} bytes, {length - LONGEST_NAME} too many")
    return Path(path)


@contextmanager
def for_owner_alone() -> Iterator[None]:
    """Whatever is made meanwhile, by whichever library, nobody but its owner can read."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def make_folder(path: str | Path) -> Path:
    """Make the folder and those above it that are missing, for their owner alone; one that is there stays
    as it is."""
    path = Path(path)
    for folder in (*reversed(path.parents), path):
        # Only what is missing: `mkdir` would fail with another error on a read-only file system's folders.
        if not folder.is_dir():
            folder.mkdir(OWNER_ONLY_FOLDER, exist_ok=True)
    return path


@contextmanager
def written_whole(path: str | Path, mode: int = OWNER_ONLY) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` when the block ends without an error.

    It lies beside `path`, since a rename is only atomic within one filesystem, and it is synchronised before
    and the folder after, since a power cut must not leave a name without its content. Several processes may
    write the same path at once: one of them wins, whole.

    Args:
        path: the file; its folder is made if need be, for the owner alone.
        mode: its permissions.

    Raises:
        OSError: nothing was written; an earlier file is as it was.
    """
    path = Path(path)
    make_folder(path.parent)
    try:
        with NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.", suffix=".tmp", delete=False) as file:
            temporary = Path(file.name)
            try:
                os.fchmod(file.fileno(), mode)
                yield file  # type: ignore[misc]  # typeshed's wrapper is a BinaryIO in all but name
                file.flush()
                os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:  # closing writes once more what did not fit
        error.filename = error.filename or str(path)
        raise
    _synchronise(path.parent)


def write_whole(path: str | Path, content: bytes | str, mode: int = OWNER_ONLY) -> None:
    """Write `content` (text as UTF-8) as the file `path`; see `written_whole`."""
    with written_whole(path, mode) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def _synchronise(folder: Path) -> None:
    """Bring the folder's own list of names to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
