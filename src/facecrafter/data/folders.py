"""Folders as their owners keep them: links, litter of other tools, a level too deep, other spellings."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from .refusals import listed, nearest

PICTURES = frozenset(
    {
        "jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "pbm", "pnm",
        "avif", "avifs", "mpo", "jp2", "j2k", "psd", "qoi", "sgi", "rgb", "ras", "tga", "pcx", "dib",
    }
)  # fmt: skip
"""Endings of what is listed as a picture; what a file holds shows when it is decoded."""

_LITTER = frozenset(
    {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "lost+found", "$recycle.bin"}
)
_DEPTH = 3
_MOST_FOLDERS = 2_000
"""Folders, at most, in which a missing one is looked for: no wait where a root is somebody's home."""


def is_litter(name: str) -> bool:
    """Whether a file or folder is some tool's own: hidden, or known not to be data."""
    return name.startswith(".") or name.lower() in _LITTER


def entries_of(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, sorted, without litter. ValueError where it may not be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not is_litter(entry.name)), key=lambda e: e.name)
    except OSError as error:
        raise ValueError(f"{folder}: cannot be listed: {error.strerror}") from error


def folders_in(folder: Path) -> list[str]:
    """Names of the folders in a folder, links to folders among them."""
    return [entry.name for entry in entries_of(folder) if entry.is_dir()]


class Names:
    """The names in one folder, found as labels spell them."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = set(names)
        self._spelt: dict[str, dict[str, list[str]]] = {}

    def __len__(self) -> int:
        return len(self.names)

    def find(self, name: str, any_ending: bool = False) -> str | None:
        """The name that a label means: the same, or else the only one that differs in its Unicode form, in
        capital letters, or (`any_ending`, for a set converted to another format) in its ending."""
        if name in self.names:
            return name
        for spelling in (_composed, _caseless, *([_stem] if any_ending else [])):
            found = self._by(spelling).get(spelling(name), [])
            if len(found) == 1:
                return found[0]
        return None

    def _by(self, spelling: Callable[[str], str]) -> dict[str, list[str]]:
        if spelling.__name__ not in self._spelt:
            spelt: dict[str, list[str]] = {}
            for name in self.names:
                spelt.setdefault(spelling(name), []).append(name)
            self._spelt[spelling.__name__] = spelt
        return self._spelt[spelling.__name__]


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _caseless(name: str) -> str:
    return _composed(name).casefold()


def _stem(name: str) -> str:
    return _caseless(name).rpartition(".")[0]


def pictures_in(folder: Path) -> Names:
    """What has the ending of a picture in a folder."""
    return Names(entry.name for entry in entries_of(folder) if _is_picture(entry))


def _is_picture(entry: os.DirEntry[str]) -> bool:
    return entry.name.rpartition(".")[2].lower() in PICTURES and not entry.is_dir()


def holds_pictures(folder: Path) -> bool:
    """Whether a picture lies in it."""
    return folder.is_dir() and any(map(_is_picture, _listed(folder)))


def _is_file(path: Path) -> bool:
    """As Path.is_file, but false for names that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


class Tree:
    """Files below a root, found as labels spell their paths."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: dict[str, Names] = {}

    def find(self, path: str) -> str | None:
        """The path of the file below the root: as spelt, or else the only one that differs in its Unicode
        form or in capital letters."""
        if _is_file(self.root / path):
            return path
        found: list[str] = []
        for part in path.split("/"):
            name = self._names("/".join(found)).find(part)
            if name is None:
                return None
            found.append(name)
        return "/".join(found) if _is_file(self.root.joinpath(*found)) else None

    def nearest(self, path: str) -> str:
        """A suggestion, ' (did you mean X?)', for the first part of a path that is not there."""
        folder = ""
        for part in path.split("/"):
            name = self._names(folder).find(part)
            if name is None:
                return nearest(part, self._names(folder).names)
            folder = f"{folder}/{name}" if folder else name
        return ""

    def _names(self, folder: str) -> Names:
        if folder not in self._folders:
            place = self.root / folder
            self._folders[folder] = (
                Names(entry.name for entry in _listed(place)) if place.is_dir() else Names([])
            )
        return self._folders[folder]


def find(root: Path, names: Sequence[str], what: str, suits: Callable[[Path], bool]) -> Path:
    """The file or folder of one of these names at or below ``root``, the nearest that suits.

    Archives are unpacked a level too deep, into a folder of the same name or beside others: an only candidate
    on its level is what was meant.

    Raises:
        FileNotFoundError: there is none; says what was looked for, where, and what is there.
        ValueError: several are equally near.
    """
    wanted = {name.lower() for name in names}
    level, seen = [root] if root.is_dir() else [], 0
    for _ in range(_DEPTH):
        looked_at = level[: max(0, _MOST_FOLDERS - seen)]
        seen += len(looked_at)
        children = [Path(entry.path) for folder in looked_at for entry in _listed(folder)]
        found = [path for path in children if path.name.lower() in wanted and suits(path)]
        if len(found) > 1:
            found = [path for path in found if path.name == names[0]] or found
        if len(found) > 1:
            raise ValueError(
                f"{root}: {listed(str(path.relative_to(root)) for path in found)} could each be {what}: "
                "name the root of one data set"
            )
        if found:
            return found[0]
        level = [path for path in children if path.is_dir()]
    raise not_found(root, names, what)


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return entries_of(folder)
    except ValueError:  # not ours to read, so not what is looked for
        return []


def not_found(root: Path, names: Sequence[str], what: str) -> FileNotFoundError:
    """An error that says what was looked for, where, and what is there."""
    place = root.absolute()
    for path in (root, *(root / name for name in names)):
        if path.is_symlink() and not path.exists():
            return FileNotFoundError(f"{path} is a link to {path.readlink()}, which does not exist")
    if not root.is_dir():
        beside = [entry.name for entry in _listed(place.parent)]
        return FileNotFoundError(
            f"{root / names[0]} is missing: there is no folder {place}{nearest(place.name, beside)}"
        )
    for name in names:
        if (place.parent / name).exists():
            return FileNotFoundError(
                f"{root / name} is missing: it lies beside, in {place.parent}: make that the root"
            )
    there = [entry.name + "/" * entry.is_dir() for entry in _listed(root)]
    plain = [name.rstrip("/") for name in there]
    return FileNotFoundError(
        f"{root / names[0]} is missing: looked for {what} named {_either(names)} in {place}, which holds "
        f"{listed(there)}{nearest(names[0], plain)}"
    )


def _either(names: Iterable[str]) -> str:
    return " or ".join(repr(name) for name in names)
