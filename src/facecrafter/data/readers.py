"""Label files of the public face sets, in their official layouts, as tables."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .files import header_of, inside, lines_of, rows_of
from .table import FaceTable, find_columns

log = logging.getLogger(__name__)

MAX_MAAD_BYTES = 2 * 2**30
"""MAAD-Face labels 3.3 million pictures in some 400 MB."""

_TRUE, _FALSE = frozenset({"1", "1.0", "true", "yes"}), frozenset({"0", "0.0", "-1", "-1.0", "false", "no"})


def _require(present: set[str], name: str, source: Path) -> None:
    if name not in present:
        raise ValueError(f"{source}: {name!r} has a label row but no image")


def _pictures_in(folder: Path) -> set[str]:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is missing: is its parent the root of the data set in its official layout?"
        )
    return {entry.name for entry in folder.iterdir() if entry.suffix == ".jpg"}


def _folders_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []


def _flags(where: str, values: Sequence[str]) -> list[int]:
    """1 where a ±1 attribute is positive; CelebA and MAAD-Face write integers, LFW scores."""
    try:
        numbers = [float(value) for value in values]
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{where}: an attribute is not a finite number")
    return [int(number > 0) for number in numbers]


def read_celeba(root: Path, attributes: Sequence[str] | None) -> FaceTable:
    """CelebA: ``img_align_celeba/``, ``identity_CelebA.txt``, ``list_attr_celeba.txt``; None: all columns."""
    source = root / "list_attr_celeba.txt"
    present = _pictures_in(root / "img_align_celeba")
    people = _celeba_identities(root / "identity_CelebA.txt")
    lines = lines_of(source)
    count, names = next(lines, "").strip(), next(lines, "").split()
    columns = find_columns(str(source), names, names if attributes is None else attributes)
    images, identities, flags = [], [], []
    for number, line in enumerate(lines, start=3):
        words = line.split()
        if len(words) != len(names) + 1:
            raise ValueError(
                f"{source}, line {number}: expected an image and {len(names)} values: {len(words)} words"
            )
        image, *values = words
        _require(present, image, source)
        if image not in people:
            raise ValueError(f"{source}, line {number}: {image!r} has no identity in identity_CelebA.txt")
        images.append(f"img_align_celeba/{image}")
        identities.append(people[image])
        flags.append(_flags(f"{source}, line {number}", [values[column] for column in columns]))
    if count != str(len(images)):
        raise ValueError(
            f"{source}: its first line announces {count!r} pictures, {len(images)} follow: is it cut short?"
        )
    return FaceTable.of(
        str(source), images, identities, np.array(flags, np.uint8), [names[c] for c in columns]
    )


def _celeba_identities(source: Path) -> dict[str, str]:
    people: dict[str, str] = {}
    for number, line in enumerate(lines_of(source), start=1):
        words = line.split()
        if len(words) != 2:
            raise ValueError(
                f"{source}, line {number}: expected an image and an identity, found {line.strip()!r}"
            )
        if words[0] in people:
            raise ValueError(
                f"{source}, line {number}: {words[0]!r} is listed more than once: keep one row per picture"
            )
        people[words[0]] = words[1]
    return people


def read_lfw(root: Path, attributes: Sequence[str]) -> FaceTable:
    """LFW: ``lfw-deepfunneled/NAME/NAME_0001.jpg`` and ``lfw_attributes.txt`` (tabs; '#' opens comments and
    the header).

    The label file misses some 90 of the 13,233 pictures: they are left out, and their number is logged.
    """
    source = root / "lfw_attributes.txt"
    faces = root / "lfw-deepfunneled"
    folders = {name: _pictures_in(faces / name) for name in _folders_in(faces)}
    names: list[str] = []
    columns: list[int] = []
    images, identities, flags = [], [], []
    for number, line in enumerate(lines_of(source), start=1):
        cells = line.rstrip("\r\n").split("\t")
        if cells[0].startswith("#"):
            if cells[1:3] == ["person", "imagenum"]:
                names, columns = cells[3:], find_columns(str(source), cells[3:], attributes)
            continue
        if not columns or len(cells) != len(names) + 2 or not cells[1].isdecimal():
            raise ValueError(
                f"{source}, line {number}: expected a person, a number and {len(names)} attributes "
                "with tabs between, below a header that names them"
            )
        person = cells[0].replace(" ", "_")
        image = f"{person}_{int(cells[1]):04d}.jpg"
        _require(folders.get(person, set()), image, source)
        images.append(f"lfw-deepfunneled/{person}/{image}")
        identities.append(person)
        flags.append(_flags(f"{source}, line {number}", [cells[2 + column] for column in columns]))
    unlabelled = sum(map(len, folders.values())) - len(images)
    if unlabelled > 0:
        log.info("%s: left out %d pictures without labels", source, unlabelled)
    return FaceTable.of(
        str(source), images, identities, np.array(flags, np.uint8), [names[c] for c in columns]
    )


def read_vggface2(root: Path, labels: Path, attributes: Sequence[str]) -> FaceTable:
    """VGGFace2: ``train/n000002/0001_01.jpg``, ``test/...``, ``identity_meta.csv``, and the labels of
    MAAD-Face.

    MAAD-Face knows 1, -1 and 0 (undefined). Beside a positive, undefined counts as absent; a picture without
    any positive and with an undefined one is left out, because its label is unknown. So are people whose
    folders are not there.
    """
    folders = _vggface2_folders(root)
    names = header_of(labels, ["Filename"], MAX_MAAD_BYTES)
    find_columns(str(labels), names, attributes)
    files: dict[str, set[str]] = {}
    images, identities, flags, unknown = [], [], [], 0
    for where, row in rows_of(labels, MAX_MAAD_BYTES):
        person, _, image = row["Filename"].partition("/")
        if person not in folders:
            continue
        if person not in files:
            files[person] = _pictures_in(root / folders[person])
        _require(files[person], image, labels)
        values = [row[name] for name in attributes]
        present = _flags(where, values)
        if not any(present) and any(float(value) == 0 for value in values):
            unknown += 1
            continue
        images.append(f"{folders[person]}/{image}")
        identities.append(person)
        flags.append(present)
    if unknown:
        log.info("%s: left out %d pictures whose attributes are undefined", labels, unknown)
    return FaceTable.of(str(labels), images, identities, np.array(flags, np.uint8), attributes)


def _vggface2_folders(root: Path) -> dict[str, str]:
    """Each person's folder below the root, as 'train/n000002'; refuses people that the official list does not
    have."""
    source = root / "identity_meta.csv"
    listed = {line.partition(",")[0].strip() for line in lines_of(source)}
    folders: dict[str, str] = {}
    for part in ("train", "test"):
        for person in _folders_in(root / part):
            if person in folders:
                raise ValueError(
                    f"{root}: {person!r} is in train and in test: every person belongs to one of them"
                )
            if person not in listed:
                raise ValueError(f"{root / part / person}: not among the identities of {source}")
            folders[person] = f"{part}/{person}"
    if not folders:
        raise FileNotFoundError(f"{root}: neither train/ nor test/ holds a person's folder")
    return folders


def read_folder(
    root: Path, labels: Path, path: str, identity: str, attributes: Sequence[str] | None
) -> FaceTable:
    """Any pictures below ``root``, listed in a CSV: a column of paths, one of identities, the rest
    attributes.

    Attributes are 1/0, 1/-1, true/false or yes/no; None means all the other columns. Paths may not lead out
    of the root.
    """
    others = [name for name in header_of(labels, [path, identity]) if name not in (path, identity)]
    chosen = others if attributes is None else list(attributes)
    find_columns(str(labels), others, chosen)
    images, identities, flags = [], [], []
    for where, row in rows_of(labels):
        images.append(_existing(where, root, row[path]))
        identities.append(_named(where, row[identity]))
        flags.append([_truth(where, name, row[name]) for name in chosen])
    return FaceTable.of(str(labels), images, identities, np.array(flags, np.uint8), chosen)


def _existing(where: str, root: Path, name: str) -> str:
    """The picture's one name below the root: two spellings of a path are one picture."""
    try:
        file = inside(root, name)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if not file.is_file():
        raise ValueError(f"{where}: {name!r} has a label row but no image in {root}")
    return file.resolve().relative_to(root.resolve()).as_posix()


def _named(where: str, identity: str) -> str:
    if not identity.strip():
        raise ValueError(f"{where}: no identity")
    return identity.strip()


def _truth(where: str, name: str, value: str) -> int:
    word = value.strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError(f"{where}: {name} is {value!r}, expected 1 or 0, 1 or -1, true or false, yes or no")
    return int(word in _TRUE)
