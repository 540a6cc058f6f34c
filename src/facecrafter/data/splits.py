"""Identity-disjoint splits: who trains the public networks, who is protected, who is attacked."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from facecrafter.cells import neutral
from facecrafter.files import write_whole

from .table import FaceTable, Text, text

Role = Literal["public", "public_val", "private_train", "private_test"]
ROLES: tuple[Role, ...] = get_args(Role)
COLUMNS = ("image", "sha256", "identity", "role")


@dataclass(frozen=True)
class Splits:
    """The pictures in use. The position of a picture in these columns, its row, is its name everywhere.

    ``image``, ``identity`` and ``role`` are (N,) strings; ``sha256`` (N,) holds the pictures' hashes (''
    while unknown); ``attributes`` is (N, A) uint8.
    """

    image: Text
    identity: Text
    role: Text
    sha256: Text
    attributes: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.image)

    def rows(self, *roles: Role) -> NDArray[np.int64]:
        """Rows that play any of these roles, ascending."""
        return np.flatnonzero(np.isin(self.role.astype(str), roles)).astype(np.int64)

    def take(self, rows: NDArray[np.int64]) -> Splits:
        """The given rows, renumbered from 0."""
        return Splits(
            self.image[rows], self.identity[rows], self.role[rows], self.sha256[rows], self.attributes[rows]
        )

    def with_hashes(self, sha256: Sequence[str]) -> Splits:
        """The same rows with the hashes of their files; ValueError where a known hash disagrees."""
        for image, known, found in zip(self.image, self.sha256, sha256, strict=True):
            if known not in ("", found):
                raise ValueError(
                    f"{image}: its content is not what the splits file was written for: its sha256 differs"
                )
        return replace(self, sha256=text(sha256))

    def write(self, path: str | Path) -> None:
        """Write ``splits.csv``, readable by its owner alone: it links pictures to people."""
        file = io.StringIO(newline="")
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        lines = zip(self.image, self.sha256, self.identity, self.role, strict=True)
        writer.writerows([neutral(cell) for cell in line] for line in lines)
        write_whole(path, file.getvalue())


@dataclass(frozen=True)
class SplitRule:
    """How identities are divided.

    ``private_identities`` people (None: all that can) of at least ``min_images`` pictures are private; their
    pictures go ``train_test_ratio`` to 1 into private_train and private_test, at least one into each.
    Everybody else is public, up to ``public_limit`` pictures (whole people), of whom the fraction
    ``val_fraction``, at least one person, is public_val.
    """

    private_identities: int | None
    min_images: int
    train_test_ratio: float
    val_fraction: float
    public_limit: int | None
    seed: int

    def __post_init__(self) -> None:
        positive = {"private_identities": self.private_identities, "public_limit": self.public_limit}
        for name, value in positive.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if self.min_images < 2:
            raise ValueError(
                f"min_images must be at least 2 (one to train with, one to test), not {self.min_images}"
            )
        if not self.train_test_ratio > 0:
            raise ValueError(f"train_test_ratio must be positive, not {self.train_test_ratio}")
        if not 0 < self.val_fraction < 1:
            raise ValueError(f"val_fraction must lie between 0 and 1, not {self.val_fraction}")


def shuffled(names: Iterable[str], seed: int) -> list[str]:
    """Names in an order that depends on the seed and the names alone, not on how they were listed."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())


def split(table: FaceTable, rule: SplitRule) -> Splits:
    """Give every picture its role; what ``rule.public_limit`` excludes is left out. Rows are sorted by name.

    Raises ValueError where there are too few people or pictures.
    """
    pictures = _by_identity(table)
    private = _choose_private(pictures, rule)
    others = shuffled(pictures.keys() - set(private), rule.seed)
    public = _limit({name: len(pictures[name]) for name in others}, rule)
    held_out = min(max(1, round(rule.val_fraction * len(public))), len(public) - 1)
    roles: dict[str, Role] = {}
    for position, name in enumerate(public):
        roles |= dict.fromkeys(pictures[name], "public_val" if position < held_out else "public")
    for name in private:
        roles |= _divide(pictures[name], rule)
    role = text([roles.get(image, "") for image in table.image])
    everything = Splits(table.image, table.identity, role, text([""] * len(role)), table.attributes)
    return everything.take(np.flatnonzero(role != ""))


def _by_identity(table: FaceTable) -> dict[str, list[str]]:
    pictures: dict[str, list[str]] = defaultdict(list)
    for image, identity in zip(table.image, table.identity, strict=True):
        pictures[identity].append(image)
    return pictures


def _choose_private(pictures: dict[str, list[str]], rule: SplitRule) -> list[str]:
    able = [name for name in shuffled(pictures, rule.seed) if len(pictures[name]) >= rule.min_images]
    wanted = len(able) if rule.private_identities is None else rule.private_identities
    if len(able) < max(wanted, 1):
        raise ValueError(
            f"{len(able)} identities have at least {rule.min_images} pictures, but {max(wanted, 1)} private "
            "ones are needed: lower private_identities or min_images, or add pictures"
        )
    if len(pictures) - wanted < 2:
        raise ValueError(
            f"{len(pictures)} identities, {wanted} of them private, leave {len(pictures) - wanted} public: "
            "at least 2 are needed (one of them for validation): lower private_identities"
        )
    return able[:wanted]


def _limit(counts: dict[str, int], rule: SplitRule) -> list[str]:
    if rule.public_limit is None:
        return list(counts)
    totals = np.cumsum(list(counts.values()))
    kept = [name for name, total in zip(counts, totals, strict=True) if total <= rule.public_limit]
    if len(kept) < 2:
        raise ValueError(
            f"public_limit {rule.public_limit} leaves {len(kept)} whole public identities: at least 2 are "
            "needed"
        )
    return kept


def _divide(pictures: Sequence[str], rule: SplitRule) -> dict[str, Role]:
    share = rule.train_test_ratio / (1 + rule.train_test_ratio)
    training = min(max(round(share * len(pictures)), 1), len(pictures) - 1)
    order = shuffled(pictures, rule.seed)
    return {
        name: "private_train" if position < training else "private_test"
        for position, name in enumerate(order)
    }
