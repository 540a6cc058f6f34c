"""One way to write a file: whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import BinaryIO

OWNER_ONLY = 0o600


@contextmanager
def written_whole(path: str | Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` when the block ends without an error.

    It lies beside `path`, since a rename is only atomic within one filesystem, and it is synchronised before
    and the folder after, since a power cut must not leave a name without its content. Several processes may
    write the same path at once: one of them wins, whole.

    Args:
        path: the file; its folder is made if need be.
        mode: its permissions.

    Raises:
        OSError: nothing was written; an earlier file is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.", suffix=".tmp", delete=False) as file:
        temporary = Path(file.name)
        try:
            os.fchmod(file.fileno(), mode)
            yield file  # type: ignore[misc]  # typeshed's wrapper is a BinaryIO in all but name
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    temporary.replace(path)
    _synchronise(path.parent)


def write_whole(path: str | Path, content: bytes | str, mode: int = 0o644) -> None:
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
