"""Label files of the public face sets, in their official layouts, as tables."""

from __future__ import annotations

import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from .files import header_of, lines_of, person, relative, rows_of
from .folders import Names, Tree, entries_of, find, folders_in, holds_pictures, not_found, pictures_in
from .refusals import Refusals, listed, nearest, quoted
from .table import FaceTable, find_columns

log = logging.getLogger(__name__)

MAX_MAAD_BYTES = 2 * 2**30
"""MAAD-Face labels 3.3 million pictures in some 400 MB."""

Missing = Literal["error", "skip"]
"""What to do with a label row whose picture is not there: refuse the set, or leave the row out."""

_ZERO, _MINUS = frozenset({"0", "0.0"}), frozenset({"-1", "-1.0"})
_TRUE, _FALSE = frozenset({"1", "1.0", "true", "yes"}), _ZERO | _MINUS | {"false", "no"}


class _Absent:
    """Rows of a label file whose pictures are not there."""

    def __init__(self, source: Path, folder: Path, missing: Missing) -> None:
        self.source, self.folder, self.missing = source, folder, missing
        self.rows = 0
        self._where: dict[str, str] = {}

    def add(self, where: str, name: str) -> None:
        """The row `where` names a picture that is not in the folder."""
        self._where[name] = where

    def check(self, there: str, closest: Callable[[str], str]) -> None:
        """Refuse them, or log how many of the `rows` were left out.

        Args:
            there: what the folder holds.
            closest: a suggestion for a name.
        """
        if not self._where:
            return
        (name, where), count = next(iter(self._where.items())), len(self._where)
        if self.missing == "skip":
            log.warning("%s: left out %d of %d rows without an image", self.source, count, self.rows)
            return
        which = f"{where}: {quoted(name)} has a label row but no image"
        if count > 1:
            names = listed(map(quoted, self._where))
            which = f"{where}: {count} of {self.rows} pictures have a label row but no image: {names}"
        meant = closest(name) if count == 1 else ""
        raise ValueError(
            f"{which}. Looked in {self.folder}, which holds {there}{meant}. Add "
            "what is missing, or set missing to 'skip' if only a part of the set is wanted"
        )


def _flags(where: str, values: Sequence[str]) -> list[int]:
    """1 where a ±1 attribute is positive; CelebA and MAAD-Face write integers, LFW scores."""
    try:
        numbers = [float(value) for value in values]
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{where}: an attribute is not a finite number")
    return [int(number > 0) for number in numbers]


def read_celeba(root: Path, attributes: Sequence[str] | None, missing: Missing = "error") -> FaceTable:
    """CelebA: ``img_align_celeba/``, ``identity_CelebA.txt``, ``list_attr_celeba.txt``; None: all columns.

    The three may lie deeper, as the archives unpack, and the attributes may be a CSV file.
    """
    folder = find(root, ["img_align_celeba", "img_align_celeba_png"], "a folder of pictures", holds_pictures)
    source = find(root, ["list_attr_celeba.txt", "list_attr_celeba.csv"], "a label file", Path.is_file)
    present = pictures_in(folder)
    people = _celeba_identities(find(root, ["identity_CelebA.txt"], "a label file", Path.is_file))
    names, rows = _celeba_csv(source) if source.suffix.lower() == ".csv" else _celeba_text(source)
    columns = find_columns(str(source), names, names if attributes is None else attributes)
    below = folder.relative_to(root).as_posix()
    images, identities, flags = [], [], []
    absent, nobody = _Absent(source, folder, missing), list[str]()
    for where, image, values in rows:
        absent.rows += 1
        found = present.find(image, any_ending=True)
        if found is None:
            absent.add(where, image)
            continue
        if image not in people:
            nobody.append(image)
            continue
        images.append(f"{below}/{found}")
        identities.append(people[image])
        flags.append(_flags(where, [values[column] for column in columns]))
    absent.check(*_among(present.names))
    if nobody:
        raise ValueError(
            f"{source}: {listed(map(quoted, nobody))} has no identity in identity_CelebA.txt "
            f"({len(nobody)} of {absent.rows} pictures)"
        )
    return FaceTable.of(
        str(source), images, identities, np.array(flags, np.uint8), [names[c] for c in columns]
    )


def _among(names: Iterable[str]) -> tuple[str, Callable[[str], str]]:
    """What `_Absent.check` is told of a folder's pictures."""
    there = sorted(names)
    return f"{len(there)} pictures", lambda name: nearest(name, there)


_CelebaRows = Iterator[tuple[str, str, list[str]]]
"""Where a row stands, its image, and its values."""


def _celeba_text(source: Path) -> tuple[list[str], _CelebaRows]:
    """The official file: how many rows, the attributes' names, the rows."""
    lines = enumerate(lines_of(source), start=1)
    filled = ((number, line.split()) for number, line in lines if line.strip())
    count, names = (next(filled, (0, []))[1] for _ in range(2))

    def rows() -> _CelebaRows:
        follow = 0
        for line, words in filled:
            follow += 1
            if len(words) != len(names) + 1:
                raise ValueError(
                    f"{source}, line {line}: expected an image and {len(names)} values: {len(words)} words"
                )
            yield f"{source}, line {line}", words[0], words[1:]
        if count != [str(follow)]:
            raise ValueError(
                f"{source}: its first line announces {' '.join(count)[:40]!r} pictures, {follow} follow: "
                "is it cut short?"
            )

    return names, rows()


def _celeba_csv(source: Path) -> tuple[list[str], _CelebaRows]:
    """The same as others pass it on: a header, of which the first column is the image, and the rows."""
    image, *names = header_of(source, [])
    rows = ((where, row[image], [row[name] for name in names]) for where, row in rows_of(source))
    return names, rows


def _celeba_identities(source: Path) -> dict[str, str]:
    people: dict[str, str] = {}
    for number, line in enumerate(lines_of(source), start=1):
        words = line.replace(",", " ").split()
        if not words or (number == 1 and words[:1] == ["image_id"]):
            continue
        if len(words) != 2:
            raise ValueError(
                f"{source}, line {number}: expected an image and an identity, found {line.strip()[:80]!r}"
            )
        if words[0] in people:
            raise ValueError(
                f"{source}, line {number}: {quoted(words[0])} is listed more than once: keep one row per "
                "picture"
            )
        people[words[0]] = words[1]
    return people


def read_lfw(root: Path, attributes: Sequence[str], missing: Missing = "error") -> FaceTable:
    """LFW: ``lfw-deepfunneled/NAME/NAME_0001.jpg`` and ``lfw_attributes.txt`` (tabs; '#' opens comments and
    the header).

    The label file misses some 90 of the 13,233 pictures: they are left out, and their number is logged. Other
    alignments of LFW have folders of other names, and are not taken for this one.
    """
    faces = find(root, ["lfw-deepfunneled"], "a folder of people's folders", _holds_folders)
    source = find(root, ["lfw_attributes.txt"], "a label file", Path.is_file)
    below = faces.relative_to(root).as_posix()
    folders = {name: pictures_in(faces / name) for name in folders_in(faces)}
    people = Names(folders)
    names: list[str] = []
    columns: list[int] = []
    images, identities, flags = [], [], []
    absent = _Absent(source, faces, missing)
    for number, line in enumerate(lines_of(source), start=1):
        cells = [cell.strip() for cell in line.rstrip().split("\t")]
        if not any(cells):
            continue
        if cells[0].startswith("#"):
            if cells[1:3] == ["person", "imagenum"]:
                names, columns = cells[3:], find_columns(str(source), cells[3:], attributes)
            continue
        if not columns or len(cells) != len(names) + 2 or not _is_number(cells[1]):
            raise ValueError(
                f"{source}, line {number}: expected a person, a number and {len(names)} attributes "
                "with tabs between, below a header that names them"
            )
        where = f"{source}, line {number}"
        absent.rows += 1
        identity = person(cells[0]).replace(" ", "_")
        image = f"{identity}_{int(cells[1]):04d}.jpg"
        folder = people.find(identity)
        found = folders[folder].find(image, any_ending=True) if folder else None
        if found is None:
            absent.add(where, image)
            continue
        images.append(f"{below}/{folder}/{found}")
        identities.append(identity)
        flags.append(_flags(where, [cells[2 + column] for column in columns]))
    absent.check(*_among(name for pictures in folders.values() for name in pictures.names))
    unlabelled = sum(map(len, folders.values())) - len(images)
    if unlabelled > 0:
        log.info("%s: left out %d pictures without labels", source, unlabelled)
    return FaceTable.of(
        str(source), images, identities, np.array(flags, np.uint8), [names[c] for c in columns]
    )


def _is_number(cell: str) -> bool:
    return cell.isascii() and cell.isdigit() and len(cell) < 9


def _holds_folders(folder: Path) -> bool:
    return folder.is_dir() and any(holds_pictures(folder / name) for name in folders_in(folder))


def read_vggface2(
    root: Path, labels: Path, attributes: Sequence[str], missing: Missing = "error"
) -> FaceTable:
    """VGGFace2: ``train/n000002/0001_01.jpg``, ``test/...``, ``identity_meta.csv``, and the labels of
    MAAD-Face.

    MAAD-Face knows 1, -1 and 0 (undefined). Beside a positive, undefined counts as absent; a picture without
    any positive and with an undefined one is left out, because its label is unknown. So are people whose
    folders are not there.
    """
    folders = _vggface2_folders(root)
    names = header_of(labels, ["Filename"], MAX_MAAD_BYTES)
    find_columns(str(labels), names, attributes)
    files: dict[str, Names] = {}
    images, identities, flags, unknown = [], [], [], 0
    absent = _Absent(labels, root, missing)
    for where, row in rows_of(labels, MAX_MAAD_BYTES):
        someone, _, image = row["Filename"].replace("\\", "/").partition("/")
        if someone not in folders:
            continue
        absent.rows += 1
        if someone not in files:
            files[someone] = pictures_in(root / folders[someone])
        found = files[someone].find(image, any_ending=True)
        if found is None:
            absent.add(where, f"{someone}/{image}")
            continue
        values = [row[name] for name in attributes]
        present = _flags(where, values)
        if not any(present) and any(float(value) == 0 for value in values):
            unknown += 1
            continue
        images.append(f"{folders[someone]}/{found}")
        identities.append(someone)
        flags.append(present)
    absent.check(*_among(f"{someone}/{name}" for someone, names in files.items() for name in names.names))
    if not absent.rows:
        raise ValueError(
            f"{labels}: none of its people is among the {len(folders)} in {root}, such as "
            f"{next(iter(folders))}"
        )
    if unknown:
        log.info("%s: left out %d pictures whose attributes are undefined", labels, unknown)
    return FaceTable.of(str(labels), images, identities, np.array(flags, np.uint8), attributes)


def _vggface2_folders(root: Path) -> dict[str, str]:
    """Each person's folder below the root, as 'train/n000002'; refuses people that the official list does not
    have."""
    source = find(root, ["identity_meta.csv"], "the list of people", Path.is_file)
    listed_there = {line.partition(",")[0].strip().strip('"') for line in lines_of(source)}
    folders: dict[str, str] = {}
    strangers = Refusals()
    for part in _vggface2_parts(root):
        for someone in folders_in(part):
            if someone in folders:
                raise ValueError(
                    f"{root}: {someone!r} is in train and in test: every person belongs to one of them"
                )
            if someone not in listed_there:
                strangers.add(f"{part / someone}: not among the identities of {source}")
            folders[someone] = (part / someone).relative_to(root).as_posix()
    strangers.check("{} folders are nobody's")
    return folders


def _vggface2_parts(root: Path) -> list[Path]:
    """The folders of people for training and for testing; one of them is enough."""
    parts = [root / name for name in ("train", "test") if _holds_folders(root / name)]
    if parts:
        return parts
    for names in (["train", "vggface2_train"], ["test", "vggface2_test"]):
        try:
            parts.append(find(root, names, "a folder of people's folders", _holds_folders))
        except FileNotFoundError:
            continue
    if not parts:
        raise not_found(root, ["train", "test"], "a folder of people's folders")
    return parts


def read_folder(
    root: Path,
    labels: Path,
    path: str,
    identity: str,
    attributes: Sequence[str] | None,
    missing: Missing = "error",
) -> FaceTable:
    """Any pictures below ``root``, listed in a CSV: a column of paths, one of identities, the rest
    attributes.

    Attributes are 1/0, 1/-1, true/false or yes/no; None means all the other columns. A column with both 0 and
    -1 is refused: of two that are not 1, one mostly says that nobody knows. Paths may not lead out of the
    root, but links below it may.
    """
    others = [name for name in header_of(labels, [path, identity]) if name not in (path, identity)]
    if attributes is None:
        _refuse_unnamed(labels, header_of(labels, []))
    chosen = others if attributes is None else list(attributes)
    if not others:
        raise ValueError(
            f"{labels} has no column beside {path!r} and {identity!r}: add one of 0 and 1 for each attribute "
            "that f is to read"
        )
    find_columns(str(labels), others, chosen)
    tree = Tree(root)
    images, identities, flags = [], [], []
    seen: dict[str, str] = {}
    absent, refusals = _Absent(labels, root, missing), Refusals()
    words: dict[str, set[str]] = {name: set() for name in chosen}
    for where, row in rows_of(labels):
        absent.rows += 1
        try:
            spelt = relative(row[path], root)
            someone, values = _named(row[identity]), [_truth(name, row[name], words[name]) for name in chosen]
        except ValueError as error:
            refusals.add(f"{where}: {error}")
            continue
        found = tree.find(spelt)
        if found is None:
            absent.add(where, spelt)
            continue
        file = os.path.realpath(root / found)
        if file in seen:
            refusals.add(
                f"{where}: {quoted(found)} is listed more than once (as {seen[file]}): keep one row per "
                "picture"
            )
            continue
        seen[file] = f"{quoted(found)} in line {where.rpartition(' ')[2]}"
        images.append(found)
        identities.append(someone)
        flags.append(values)
    refusals.check(f"{{}} of {absent.rows} rows cannot be used")
    _refuse_two_noes(labels, words)
    absent.check(listed(entry.name for entry in entries_of(root)), tree.nearest)
    _warn_of_alike(labels, identities)
    _warn_of_unnamed(labels, root, images, seen)
    table = FaceTable.of(str(labels), images, identities, np.array(flags, np.uint8), chosen)
    _warn_of_one_value(labels, table)
    return table


def _warn_of_alike(labels: Path, identities: Sequence[str]) -> None:
    """Names may differ in capital letters on purpose, but are more often one person's."""
    people = sorted(set(identities))
    spelt = Counter(map(str.casefold, people))
    if alike := [name for name in people if spelt[name.casefold()] > 1]:
        log.warning(
            "%s: people whose names differ in capital letters alone count as different ones: %s",
            labels,
            listed(map(quoted, alike)),
        )


def _warn_of_unnamed(labels: Path, root: Path, images: Sequence[str], files: Collection[str]) -> None:
    """Pictures in the folders that are named, or beside these, may be left out on purpose, or because a table
    was cut. `files` are where the `images` are, which links may lead to."""
    named = set(images)
    folders = {image.rpartition("/")[0] for image in images}
    above = {folder.rpartition("/")[0] for folder in folders if folder}
    folders |= {f"{place}/{name}".lstrip("/") for place in above for name in folders_in(root / place)}
    found = [f"{one}/{name}".lstrip("/") for one in sorted(folders) for name in pictures_in(root / one).names]
    others = sorted(
        name for name in found if name not in named and os.path.realpath(root / name) not in files
    )
    if others:
        log.warning(
            "%s names no row for %s pictures, which are left out: %s",
            labels,
            f"{len(others):,}",
            listed(map(quoted, others)),
        )


def _warn_of_one_value(labels: Path, table: FaceTable) -> None:
    """Nothing can be learnt of such an attribute, and no AUC be measured."""
    alike = (table.attributes == table.attributes[:1]).all(axis=0)
    if same := [name for name, one in zip(table.attribute_names, alike, strict=True) if one]:
        log.warning(
            "%s: of all pictures the same is said of %s: its AUC cannot be measured, and a mean is of the "
            "others",
            labels,
            listed(map(quoted, same)),
        )


def _refuse_two_noes(labels: Path, words: Mapping[str, set[str]]) -> None:
    for name, said in words.items():
        if said & _ZERO and said & _MINUS:
            raise ValueError(
                f"{labels}: {name} is 0 in some rows and -1 in others, of which one may mean unknown; "
                "write no as one of them, and leave out rows of which it is not known"
            )


def _refuse_unnamed(labels: Path, header: list[str]) -> None:
    for number, name in enumerate(header, start=1):
        if not name or name.startswith("Unnamed:"):
            raise ValueError(
                f"{labels}: column {number} has no name; if it is the index that pandas writes, write the "
                "file with index=False, or name the attributes to use"
            )


def _named(identity: str) -> str:
    if not (name := person(identity)):
        raise ValueError("no identity")
    return name


def _truth(name: str, value: str, words: set[str]) -> int:
    """1 or 0; `words` receives how that was written."""
    word = value.strip().lower()
    words.add(word)
    if word not in _TRUE | _FALSE:
        raise ValueError(
            f"{name} is {quoted(value)}, expected 1 or 0, 1 or -1, true or false, yes or no; a column that "
            "is no attribute is left out by naming the others in `attributes`"
        )
    return int(word in _TRUE)
