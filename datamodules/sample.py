"""A few people of a data set, under the labels of all: what a study is tried out with before it starts."""

from __future__ import annotations

import copy
import math
from functools import cached_property
from typing import Any

import numpy as np

from datamodules.datasets import FaceDataset
from datamodules.faces import FaceDataModule, FitRole
from facecrafter.data.cache import ImageCache, Pictures
from facecrafter.data.splits import Role, Splits
from facecrafter.data.table import FaceTable

PEOPLE = 12
"""At least so many of each kind, where there are: validation holds out some, and judges tell them apart."""
EACH = 4
"""Pictures that are taken of a person. Where most people have fewer, more people are taken."""
REPEATS = 8
"""Batches that an epoch of training has: the sample as often as that takes."""


class SampleFaces(FaceDataModule):
    """Some pictures of `data` in each role, chosen by its splits alone, so that all stages of a study see the
    same. People keep the numbers that they have among all, so a network that knows too few is found out.

    Args:
        data: all of the faces.
        pictures: about so many are taken of each role, where there are that many.
        cache_dir: as of FaceDataModule.
    """

    def __init__(self, data: FaceDataModule, pictures: int, cache_dir: str | None = None) -> None:
        super().__init__(
            image_size=data.image_size,
            batch_size=data.batch_size,
            fit_role=data.fit_role,
            predict_role=data.predict_role,
            predict_limit=data.predict_limit,
            manifest_batch_size=data.manifest_batch_size,
            public_attribute=data.public_attribute,
            private_exposure=data.private_exposure,
            seed=data.seed,
            cache_dir=cache_dir,
            num_workers=data.num_workers,
        )
        table, splits = data._planned
        self.whole, self.count = copy.copy(data), pictures  # others may set it up
        self.whole.splits, self.whole.attribute_names = splits, table.attribute_names

    def read_table(self) -> FaceTable:
        return self.whole._planned[0]

    def source(self, splits: Splits) -> list[Any]:
        return self.whole.source(splits)

    def cache_key(self, splits: Splits) -> list[Any]:
        return self.whole.cache_key(splits)

    def picture_keys(self, splits: Splits) -> list[str]:
        return self.whole.picture_keys(splits)

    def pictures(self, splits: Splits) -> Pictures:
        return self.whole.pictures(splits)

    def fingerprint(self) -> str:
        """That of all: the sample follows from it."""
        return self.whole.fingerprint()

    def sizes(self) -> dict[str, int]:
        return self.whole.sizes()

    def full_size(self, role: Role) -> int:
        """How many pictures of `role` the sample is taken from."""
        return len(self.whole._rows(role))

    def full_protected(self) -> int:
        """How many pictures the study protects."""
        limit, found = self.whole.predict_limit, self.full_size(self.predict_role) - self.whole.predict_skip
        return found if limit is None else min(limit, found)

    def sampled_protected(self) -> int:
        """How many pictures of the sample are protected."""
        found = len(self._planned[1].rows(self.predict_role))
        return found if self.predict_limit is None else min(self.predict_limit, found)

    def training_faces(self, role: FitRole) -> FaceDataset:
        """Repeated, so that a whole batch can be made of a small sample."""
        return _repeated(super().training_faces(role), REPEATS * self.batch_size)

    def _check_fit(self) -> None:
        """That there are enough is checked of all, whose pictures are not decoded."""
        for role in self._fit_roles:
            if (found := self.full_size(role)) < self.batch_size:
                raise ValueError(
                    f"batch_size {self.batch_size} exceeds the {found} images of {role}: lower it"
                )

    def _without_copies(self, hashed: Splits, cache: ImageCache) -> tuple[Splits, ImageCache, np.ndarray]:
        """Copies are looked for among all, when all are decoded."""
        return hashed, cache, np.arange(len(hashed))

    def _open(self) -> None:
        super()._open()
        self.n_private_identities = self.sizes()["n_private_identities"]
        self.n_public_identities = self.sizes()["n_public_identities"]

    @cached_property
    def _planned(self) -> tuple[FaceTable, Splits]:  # type: ignore[override]
        table, splits = self.whole._planned
        return table, splits.take(self._chosen(splits))

    def _chosen(self, splits: Splits) -> np.ndarray:
        """Rows of all that are in the sample."""
        # Some more to train with: who learns from pairs holds a tenth of the people out.
        more = math.ceil(1.35 * self.count)
        known = _people(splits, "private_train")  # all of them: a judge tells everybody apart
        parts = [_of_people(splits, "private_train", known, math.ceil(more / len(known)))]
        for role, count in (("private_test", self.count), ("public", more), ("public_val", self.count)):
            parts.append(_of_some(splits, role, count))
        return np.sort(np.concatenate(parts))

    def _number_people(self) -> np.ndarray:
        """The numbers that the people of the sample have among all."""
        everyone = self.whole.splits
        numbers = dict(zip(everyone.identity.astype(str), self.whole._number_people(), strict=True))
        return np.array([numbers[name] for name in self.splits.identity.astype(str)], dtype=np.int64)


def _people(splits: Splits, role: Role) -> np.ndarray:
    return np.unique(splits.identity[splits.rows(role)].astype(str))


def _spread(people: np.ndarray, count: int) -> np.ndarray:
    """Some of the people, the first and the last among them."""
    return people[np.linspace(0, len(people) - 1, min(len(people), count)).round().astype(int)]


def _of_some(splits: Splits, role: Role, count: int) -> np.ndarray:
    """About `count` rows of a role: from more people where most have one picture, as in LFW."""
    everyone, number = _people(splits, role), max(PEOPLE, math.ceil(count / EACH))
    while True:
        people = _spread(everyone, number)
        rows = _of_people(splits, role, people, math.ceil(count / len(people)))
        if len(rows) >= count or number >= len(everyone):
            return rows
        number *= 2


def _of_people(splits: Splits, role: Role, people: np.ndarray, each: int) -> np.ndarray:
    """Rows of a role: `each` of every one of the people, who may have fewer."""
    rows = splits.rows(role)
    names = splits.identity[rows].astype(str)
    order = np.argsort(names, kind="stable")
    first, last = (np.searchsorted(names[order], people, side) for side in ("left", "right"))
    last = np.minimum(last, first + each)
    return np.concatenate([rows[order[a:b]] for a, b in zip(first, last, strict=True)])


def _repeated(faces: FaceDataset, count: int) -> FaceDataset:
    """`faces` as often as it takes to have at least `count`."""
    positions = np.resize(np.arange(len(faces)), max(count, len(faces)))
    found = copy.copy(faces)
    found.rows, found.identities = faces.rows[positions], faces.identities[positions]
    found.attributes, found._cached_at = faces.attributes[positions], faces._cached_at[positions]
    return found
