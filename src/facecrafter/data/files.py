"""Label files that somebody else wrote: bounded, and read as their writers write them."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from .folders import not_found
from .refusals import listed, nearest, quoted

MAX_LABEL_BYTES = 256 * 2**20

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)
"""Characters beside those of category Cf that fonts show nothing for."""
_SEPARATORS = (",", "\t", ";")


def relative(name: str, root: Path) -> str:
    """A label's path below the root, its parts separated by '/'.

    Whatever lies below the root may be a link that the owner of the data made; but a label, which may be a
    stranger's, leads nowhere else. A backslash separates as '/' does, and the root may stand before the path.

    Raises:
        ValueError: the path is empty, begins elsewhere or has '..' among its parts.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_relative_to(root.absolute()):
        path = path.relative_to(root.absolute())
    if path.is_absolute() or re.match("[A-Za-z]:/", str(path)):
        raise ValueError(f"{quoted(name)} leads out of the data set: it lies below {root}")
    parts = path.parts
    if ".." in parts:
        raise ValueError(f"{quoted(name)} leads out of the data set: '..' is not allowed in a path")
    if not parts:
        raise ValueError("no path")
    if unprintable := re.search(r"[\x00-\x1f]", name):
        raise ValueError(f"{quoted(name)} has the control character {unprintable[0]!r} in it")
    return "/".join(parts)


def person(name: str) -> str:
    """A person's name in the one form that names the same person everywhere.

    The same accent may be one character or two, a space may be a no-break one, and some characters cannot be
    seen: two rows that read alike are one person.
    """
    visible = _INVISIBLE.sub("", "".join(letter for letter in name if unicodedata.category(letter) != "Cf"))
    return " ".join(unicodedata.normalize("NFC", visible).split())


def lines_of(path: Path, limit: int = MAX_LABEL_BYTES) -> Iterator[str]:
    """Lines of a label file, without a byte-order mark.

    Raises FileNotFoundError naming the file, ValueError for one larger than ``limit`` bytes or no text.
    """
    try:
        if path.is_dir():
            raise ValueError(f"{path} is a folder; name a label file in it")
        if not path.is_file():
            raise not_found(path.parent, [path.name], "a label file")
        if path.stat().st_size > limit:
            raise ValueError(f"{path}: larger than {limit // 2**20} MiB, which no label file is")
        with path.open("rb") as start:
            encoding = "utf-16" if start.read(2) in _UTF_16 else "utf-8-sig"
        with path.open(encoding=encoding, newline="") as file:
            yield from file
    except UnicodeError as error:
        raise ValueError(f"{path}: not a UTF-8 text file ({error}): save it as UTF-8") from error
    except PermissionError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error


def header_of(path: Path, needed: Sequence[str], limit: int = MAX_LABEL_BYTES) -> list[str]:
    """The columns of a CSV file; ValueError where a ``needed`` one is missing or a name comes twice."""
    return _Csv(path, limit).columns(needed)


def rows_of(path: Path, limit: int = MAX_LABEL_BYTES) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows of a CSV file by column, each with where it stands ('FILE, line 7') for error messages.

    Cells may be separated by commas, tabs or semicolons, and quoted; spaces around them do not count, nor do
    rows and last columns without any content.

    Raises what ``header_of`` raises, and ValueError for a row of another length than the header.
    """
    return _Csv(path, limit).rows()


class _Csv:
    """A CSV file whose first line that is not empty names the columns."""

    def __init__(self, path: Path, limit: int) -> None:
        self.path = path
        self._lines = lines_of(path, limit)
        self._skipped, first = 0, ""
        for first in self._lines:
            if first.strip(" \t\r\n,;"):
                break
            self._skipped += 1
        separator = max(_SEPARATORS, key=first.count)
        self._reader = csv.reader(
            self._chained(first), delimiter=separator, skipinitialspace=separator != "\t"
        )

    def _chained(self, first: str) -> Iterator[str]:
        yield first
        yield from self._lines

    def columns(self, needed: Sequence[str]) -> list[str]:
        header = self._header()
        for name in needed:
            if name not in header:
                raise ValueError(
                    f"{self.path}: no column {name!r} among {listed(header, 60)} (its first line)"
                    + nearest(name, header)
                )
        named = [name for name in header if name]
        if len(set(named)) != len(named):
            raise ValueError(f"{self.path}: two columns have the same name: {listed(header, 60)}")
        return header

    def _header(self) -> list[str]:
        try:
            return _without_empty_end([name.strip() for name in next(self._reader, [])])
        except csv.Error as error:
            raise ValueError(f"{self.path}, line 1: {error}") from error

    def _line(self) -> int:
        return self._skipped + self._reader.line_num

    def rows(self) -> Iterator[tuple[str, dict[str, str]]]:
        header = self.columns([])
        try:
            for raw in self._reader:
                where = f"{self.path}, line {self._line()}"
                cells = [cell.strip() for cell in raw]
                if not any(cells):
                    continue
                if len(cells) > len(header) and not any(cells[len(header) :]):
                    cells = cells[: len(header)]
                if len(cells) != len(header):
                    raise ValueError(f"{where}: {len(cells)} cells for {len(header)} columns")
                yield where, dict(zip(header, cells, strict=True))
        except csv.Error as error:
            raise ValueError(f"{self.path}, line {self._line()}: {error}") from error


def _without_empty_end(cells: list[str]) -> list[str]:
    while cells and not cells[-1]:
        cells.pop()
    return cells
