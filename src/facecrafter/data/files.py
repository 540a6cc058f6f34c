"""Label files and paths that somebody else wrote: bounded, and never leading out of the data set."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

MAX_LABEL_BYTES = 256 * 2**20


def inside(root: Path, name: str) -> Path:
    """The path of ``name`` below ``root``; ValueError where it leads out, through a link too."""
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{name!r} leads out of {root}: pictures must lie below it")
    return path


def lines_of(path: Path, limit: int = MAX_LABEL_BYTES) -> Iterator[str]:
    """Lines of a label file, without a byte-order mark.

    Raises FileNotFoundError naming the file, ValueError for one larger than ``limit`` bytes or no text.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: is its folder the root of the data set in its layout?")
    if path.stat().st_size > limit:
        raise ValueError(f"{path}: larger than {limit // 2**20} MiB, which no label file is")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from file
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a UTF-8 text file ({error})") from error


def header_of(path: Path, needed: Sequence[str], limit: int = MAX_LABEL_BYTES) -> list[str]:
    """The columns of a CSV file; ValueError where a ``needed`` one is missing or a name comes twice."""
    header = [name.strip() for name in next(csv.reader(lines_of(path, limit)), [])]
    for name in needed:
        if name not in header:
            raise ValueError(f"{path}: no column {name!r} among {', '.join(header)}")
    if len(set(header)) != len(header):
        raise ValueError(f"{path}: two columns have the same name: {', '.join(header)}")
    return header


def rows_of(path: Path, limit: int = MAX_LABEL_BYTES) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows of a CSV file by column, each with where it stands ('FILE, line 7') for error messages.

    Raises what ``header_of`` raises, and ValueError for a row of another length than the header.
    """
    header = header_of(path, [], limit)
    reader = csv.reader(lines_of(path, limit))
    next(reader, None)
    try:
        for cells in reader:
            where = f"{path}, line {reader.line_num}"
            if len(cells) != len(header):
                raise ValueError(f"{where}: {len(cells)} cells for {len(header)} columns")
            yield where, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
