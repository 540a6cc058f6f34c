"""What a split must not contain: one person on both sides, or the same picture under two roles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facecrafter.cells import original

from .files import header_of, person, rows_of
from .folders import Names
from .refusals import Refusals, nearest, quoted
from .splits import ROLES, Splits
from .table import FaceTable, text

_NEEDED = ("image", "identity", "role")


def read_splits(path: str | Path, table: FaceTable) -> Splits:
    """Apply a ``splits.csv`` (image, identity, role; sha256 if known) to a table; rows keep their numbers.

    Raises ValueError naming the line where the file contradicts the table or itself.
    """
    header_of(Path(path), _NEEDED)
    names = Names(table.image)
    row_of = {image: row for row, image in enumerate(table.image)}
    lines: dict[int, dict[str, str]] = {}
    refusals = Refusals()
    for where, raw in rows_of(Path(path)):
        line = {name: original(cell) for name, cell in raw.items()}
        image = names.find(line["image"])
        if fault := _fault(line, image, table, row_of):
            refusals.add(f"{where}: {fault}")
        elif row_of[image] in lines:
            refusals.add(f"{where}: {image!r} is listed more than once: keep one row per picture")
        else:
            lines[row_of[image]] = line
    refusals.check("{} rows cannot be used")
    rows = np.array(list(lines), dtype=np.int64)
    role = text([line["role"] for line in lines.values()])
    sha256 = text([line.get("sha256") or "" for line in lines.values()])
    splits = Splits(table.image[rows], table.identity[rows], role, sha256, table.attributes[rows])
    check_identities(splits, str(path))
    return splits


def _fault(line: dict[str, str], image: str | None, table: FaceTable, row_of: dict[str, int]) -> str:
    """What is wrong with a row of a splits file; '' if nothing is."""
    if image is None:
        return f"{quoted(line['image'])} is not among the labelled pictures{nearest(line['image'], row_of)}"
    known = table.identity[row_of[image]]
    if person(line["identity"]) != known:
        return f"{image!r} shows {known!r} by its label, not {quoted(line['identity'])}"
    if line["role"] not in ROLES:
        return f"the role {quoted(line['role'])} is not one of {', '.join(ROLES)}"
    return ""


def check_identities(splits: Splits, source: str) -> None:
    """Refuse an identity on two sides, a private one without training or test pictures, an empty role."""
    roles: dict[str, set[str]] = defaultdict(set)
    for identity, role in zip(splits.identity, splits.role, strict=True):
        roles[identity].add(role)
    for identity, found in sorted(roles.items()):
        if len(found) > 1 and found != {"private_train", "private_test"}:
            raise ValueError(
                f"{source}: the identity {identity!r} is on two sides: {' and '.join(sorted(found))}"
            )
        if len(found) == 1 and next(iter(found)).startswith("private"):
            absent = ({"private_train", "private_test"} - found).pop()
            raise ValueError(f"{source}: the private identity {identity!r} has no picture in {absent}")
    for role in ROLES:
        if not any(role in found for found in roles.values()):
            raise ValueError(f"{source}: no picture has the role {role}")


def find_copies(splits: Splits, digests: Sequence[str]) -> list[NDArray[np.int64]]:
    """Groups of rows with the same pixels (their ``digests``, (N,)) under several roles or people."""
    groups: dict[str, list[int]] = defaultdict(list)
    for row, digest in enumerate(digests):
        groups[digest].append(row)
    found = [np.array(rows) for rows in groups.values() if len(rows) > 1]
    return [rows for rows in found if len(set(splits.role[rows])) > 1 or len(set(splits.identity[rows])) > 1]


def _side(role: str) -> str:
    """'private' or 'public'."""
    return role.partition("_")[0]


def refuse_copies(splits: Splits, digests: Sequence[str]) -> None:
    """Raise ValueError naming the copies found."""
    refusals = Refusals()
    for rows in find_copies(splits, digests):
        refusals.add(
            " and ".join(f"{splits.image[row]} ({splits.role[row]}, {splits.identity[row]})" for row in rows)
        )
    if refusals.count:
        raise ValueError(
            f"the same picture plays two roles or shows two people, {refusals.count} times: {refusals}. A "
            "defence would be judged on what an attacker has: remove the copies, or set duplicates to 'drop'"
        )


def drop_copies(splits: Splits, digests: Sequence[str]) -> tuple[NDArray[np.int64], list[str]]:
    """Rows to keep so that no picture plays two roles, and the names of the pictures to drop.

    A private picture outlives its public copies, and private_train outlives private_test: the identity oracle
    learns from the one and judges by the other. Of a picture that claims to show two people of one side, no
    copy can be trusted: all go.
    """
    rank = {"private_train": 0, "private_test": 1, "public": 2, "public_val": 3}
    keep = np.ones(len(splits), dtype=bool)
    for rows in find_copies(splits, digests):
        best = min(splits.role[rows], key=rank.__getitem__)
        side = [row for row in rows if _side(splits.role[row]) == _side(best)]
        keep[rows] = (splits.role[rows] == best) & (len(set(splits.identity[side])) < 2)
    return np.flatnonzero(keep).astype(np.int64), list(splits.image[~keep])
