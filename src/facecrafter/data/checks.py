"""What a split must not contain: one person on both sides, or the same picture under two roles."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .files import header_of, rows_of
from .splits import ROLES, Splits
from .table import FaceTable, text

_NEEDED = ("image", "identity", "role")


def read_splits(path: str | Path, table: FaceTable) -> Splits:
    """Apply a ``splits.csv`` (image, identity, role; sha256 if known) to a table; rows keep their numbers.

    Raises ValueError naming the line where the file contradicts the table or itself.
    """
    header_of(Path(path), _NEEDED)
    row_of = {image: row for row, image in enumerate(table.image)}
    lines: dict[str, dict[str, str]] = {}
    for where, line in rows_of(Path(path)):
        _check_line(where, line, table, row_of)
        if line["image"] in lines:
            raise ValueError(f"{where}: {line['image']!r} is listed more than once: keep one row per picture")
        lines[line["image"]] = line
    rows = np.array([row_of[image] for image in lines], dtype=np.int64)
    role = text([line["role"] for line in lines.values()])
    sha256 = text([line.get("sha256") or "" for line in lines.values()])
    splits = Splits(table.image[rows], table.identity[rows], role, sha256, table.attributes[rows])
    check_identities(splits, str(path))
    return splits


def _check_line(where: str, line: dict[str, str], table: FaceTable, row_of: dict[str, int]) -> None:
    if line["image"] not in row_of:
        raise ValueError(f"{where}: {line['image']!r} is not among the labelled pictures")
    known = table.identity[row_of[line["image"]]]
    if line["identity"] != known:
        raise ValueError(f"{where}: {line['image']!r} shows {known!r} by its label, not {line['identity']!r}")
    if line["role"] not in ROLES:
        raise ValueError(f"{where}: the role {line['role']!r} is not one of {', '.join(ROLES)}")


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


def find_copies(splits: Splits) -> list[NDArray[np.int64]]:
    """Groups of rows with the same bytes under several roles, or under several private identities."""
    groups: dict[str, list[int]] = defaultdict(list)
    for row, digest in enumerate(splits.sha256):
        groups[digest].append(row)
    found = [np.array(rows) for rows in groups.values() if len(rows) > 1]
    return [
        rows for rows in found if len(set(splits.role[rows])) > 1 or len(_private_people(splits, rows)) > 1
    ]


def _private_people(splits: Splits, rows: NDArray[np.int64]) -> set[str]:
    return {splits.identity[row] for row in rows if splits.role[row].startswith("private")}


def refuse_copies(splits: Splits) -> None:
    """Raise ValueError naming the first copies found."""
    for rows in find_copies(splits)[:1]:
        copies = " and ".join(
            f"{splits.image[row]} ({splits.role[row]}, {splits.identity[row]})" for row in rows
        )
        raise ValueError(
            f"the same bytes play two roles: {copies}. A defence would be judged on what an attacker has: "
            "remove the copies, or set duplicates to 'drop'"
        )


def drop_copies(splits: Splits) -> tuple[NDArray[np.int64], list[str]]:
    """Rows to keep so that no bytes play two roles, and the names of the pictures to drop.

    A private picture outlives its public copies, and private_train outlives private_test: the identity oracle
    learns from the one and judges by the other. Of a picture that claims to show two private people, no copy
    can be trusted: all go.
    """
    rank = {"private_train": 0, "private_test": 1, "public": 2, "public_val": 3}
    keep = np.ones(len(splits), dtype=bool)
    for rows in find_copies(splits):
        best = min(splits.role[rows], key=rank.__getitem__)
        keep[rows] = (splits.role[rows] == best) & (len(_private_people(splits, rows)) < 2)
    return np.flatnonzero(keep).astype(np.int64), list(splits.image[~keep])
