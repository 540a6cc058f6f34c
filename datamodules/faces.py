"""The base of all face data: which images play which role."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from abc import abstractmethod
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.datasets import FaceDataset, ManifestDataset, uncollated
from datamodules.shuffling import EpochShuffle, all_on_every_rank, shares
from facecrafter.data.cache import VERSION, ImageCache, Pictures, Wanted, open_cache
from facecrafter.data.checks import check_identities, drop_copies, read_splits, refuse_copies
from facecrafter.data.exposure import exposed_rows
from facecrafter.data.manifest import manifest
from facecrafter.data.refusals import listed
from facecrafter.data.splits import ROLES, Role, SplitRule, Splits, split
from facecrafter.data.table import FaceTable

log = logging.getLogger(__name__)

FitRole = Literal["public", "private_train"]


def default_cache_dir() -> Path:
    """``$FACECRAFTER_CACHE``, or ``~/.cache/facecrafter``."""
    folder = os.environ.get("FACECRAFTER_CACHE") or "~/.cache/facecrafter"
    try:
        return Path(folder).expanduser()
    except RuntimeError as error:
        raise ValueError(f"there is no home for {folder}: name a folder in FACECRAFTER_CACHE") from error


USES = frozenset(
    [
        "batch_size",
        "fit_role",
        "predict_role",
        "predict_limit",
        "predict_skip",
        "manifest_batch_size",
        "public_attribute",
        "private_exposure",
        "cache_dir",
        "num_workers",
    ]
)
"""Arguments that say what is done with the pictures, not which there are, nor whose: nothing that a
`FaceDataModule` reads depends on them."""


class FaceDataModule(pl.LightningDataModule):
    """Images in [0, 1] with binary attributes and identities, in four roles: public, public_val,
    private_train, private_test.

    Training batches are dicts of image float32 (N, 3, S, S), attributes float32 (N, A), identity int64 (N,)
    and row int64 (N,); identity counts from 0 within the private or within the public people; row is the
    image's line in ``splits.csv``.
    Predicting yields manifest batches ``{number, row, image}`` of ``predict_role``.

    After ``prepare_data`` and ``setup``: ``splits``, ``attribute_names``, ``n_private_identities``,
    ``n_public_identities``.

    Args:
        image_size: side of the images in pixels.
        batch_size: images per training batch, which several devices share; they have to divide it.
        fit_role: who is trained with; public_val validates the public, nobody the private. Several roles
            take turns, an epoch each; the Trainer's ``reload_dataloaders_every_n_epochs`` must then be 1.
        predict_role: who is protected.
        predict_limit: at most this many of them, drawn by the seed: what an attacker can afford to query.
        predict_skip: pass over this many of that draw first: what was chosen on the first n, with
            ``predict_limit: n``, is reported on others with ``predict_skip: n``.
        manifest_batch_size: at most this many images are protected together.
        private_identities: how many people are private; None means all who have ``min_images`` pictures.
        min_images: pictures a private person must have.
        train_test_ratio: private_train pictures for each private_test picture.
        val_fraction: fraction of the public people held out as public_val.
        public_limit: bound on the public pictures; whole people are left out.
        public_attribute: public pictures without this attribute are not used: the imbalanced public set that
            nobody chose for the task (public_val keeps them).
        private_exposure: share of every private person's private_train pictures, at least one of each, that
            leaked: they join the public ones in training. For the networks of an attacker alone.
        attributes: names to learn; None means the data set's own choice.
        splits: a ``splits.csv`` to use instead of drawing one.
        duplicates: whether pictures that look the same (to the last pixel, at ``image_size``) under two roles
            or two people are an error, or are dropped from the less private role.
        seed: of the splits and the manifest.
        cache_dir: where decoded images are kept; None means ``$FACECRAFTER_CACHE`` or
            ``~/.cache/facecrafter``.
        num_workers: processes that load batches.
    """

    splits: Splits
    attribute_names: tuple[str, ...]
    n_private_identities: int
    n_public_identities: int

    def __init__(
        self,
        image_size: int,
        batch_size: int = 64,
        fit_role: FitRole | list[FitRole] = "public",
        predict_role: Role = "private_test",
        predict_limit: int | None = None,
        predict_skip: int = 0,
        manifest_batch_size: int = 64,
        private_identities: int | None = None,
        min_images: int = 2,
        train_test_ratio: float = 4.0,
        val_fraction: float = 0.1,
        public_limit: int | None = None,
        public_attribute: str | None = None,
        private_exposure: float = 0.0,
        attributes: list[str] | None = None,
        splits: str | None = None,
        duplicates: Literal["error", "drop"] = "error",
        seed: int = 0,
        cache_dir: str | None = None,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self._read_by: FaceDataModule | None = None
        self._opened: tuple[str, ImageCache] | None = None
        self.rule = SplitRule(
            private_identities, min_images, train_test_ratio, val_fraction, public_limit, seed
        )
        self.image_size, self.batch_size, self.num_workers = image_size, batch_size, num_workers
        self.fit_role, self.predict_role, self.manifest_batch_size = (
            fit_role,
            predict_role,
            manifest_batch_size,
        )
        self.attributes, self.splits_file, self.duplicates, self.seed = attributes, splits, duplicates, seed
        self.public_attribute = public_attribute
        if not 0 <= private_exposure <= 1:
            raise ValueError(f"private_exposure must lie between 0 and 1, not {private_exposure}")
        if predict_limit is not None and predict_limit < 1:
            raise ValueError(f"predict_limit must be at least 1, not {predict_limit}")
        if predict_skip < 0:
            raise ValueError(f"predict_skip must be at least 0, not {predict_skip}")
        self.predict_limit, self.predict_skip = predict_limit, predict_skip
        self.private_exposure = private_exposure
        self.cache_dir = Path(cache_dir).expanduser() if cache_dir else default_cache_dir()

    @abstractmethod
    def read_table(self) -> FaceTable:
        """All labelled pictures, with the chosen attributes; reads label files only."""

    @abstractmethod
    def source(self, splits: Splits) -> list[Any]:
        """What the pictures come from, as JSON without paths: whatever changes them changes this."""

    @abstractmethod
    def pictures(self, splits: Splits) -> Pictures:
        """Pixels and sha256 of the split's pictures, in order of rows."""

    def cache_key(self, splits: Splits) -> list[Any]:
        """What the cached pixels came from, as JSON; stricter than ``source`` where a machine can tell
        more."""
        return self.source(splits)

    def picture_keys(self, splits: Splits) -> list[str]:
        """What names each picture on this machine and changes with it: what was decoded before is then taken
        over. Empty where that is not worth it."""
        return [""] * len(splits)

    def prepare_data(self) -> None:
        """Decode and check everything once, before any training starts."""
        self._load()

    def setup(self, stage: str | None = None) -> None:
        """Open the cache (made now where ``prepare_data`` ran on another machine) and number people and
        rows."""
        if not hasattr(self, "splits"):
            self._open()
        if stage == "fit":
            self._check_fit()

    def _check_fit(self) -> None:
        if self.private_exposure and "public" not in self._fit_roles:
            raise ValueError(
                "private_exposure adds to the public images: train with fit_role public, or set it to 0"
            )
        shares(self.trainer, self.batch_size)
        for role in self._fit_roles:
            if (fitted := len(self.faces(role))) < self.batch_size:
                raise ValueError(
                    f"batch_size {self.batch_size} exceeds the {fitted} images of {role}: lower it"
                )
        if len(self._fit_roles) > 1 and self.trainer and self.trainer.reload_dataloaders_every_n_epochs != 1:
            raise ValueError(
                f"fit_role {self.fit_role} takes turns epoch by epoch: "
                "set the Trainer's reload_dataloaders_every_n_epochs to 1"
            )

    def _open(self) -> None:
        self.splits, self._cache, self._positions = self._load()
        self._opened = None
        self.attribute_names = self._planned[0].attribute_names
        self._number = self._number_people()
        self.n_private_identities = len(np.unique(self._number[self.splits.rows("private_train")]))
        self.n_public_identities = len(np.unique(self._number[self.splits.rows("public", "public_val")]))

    def read_as(self, other: FaceDataModule) -> None:
        """Have the labels, the splits and the pictures' sizes of a datamodule whose arguments differ in
        ``USES`` alone: they are read once, which takes seconds for a large set."""
        self._read_by = other

    @cached_property
    def _planned(self) -> tuple[FaceTable, Splits]:
        if self._read_by is not None:
            return self._read_by._planned
        table = self.read_table()
        splits = read_splits(self.splits_file, table) if self.splits_file else split(table, self.rule)
        return table, splits

    @cached_property
    def _source(self) -> list[Any]:
        return self.source(self._planned[1]) if self._read_by is None else self._read_by._source

    def _load(self) -> tuple[Splits, ImageCache, np.ndarray]:
        """The checked splits, the cache, and for each row its position in the cache."""
        _, planned = self._planned
        source = _digest([VERSION, self.image_size, list(planned.image), self.cache_key(planned)])
        name = f"{type(self).__name__.lower()}-{self.image_size}-{source[:16]}"
        wanted = Wanted(
            source,
            len(planned),
            self.image_size,
            lambda: self.picture_keys(planned),
            lambda rows: iter(self.pictures(planned.take(rows))),
        )
        if self._opened is None or self._opened[0] != name:  # to see that it is whole takes seconds
            self._opened = name, open_cache(self.cache_dir, name, wanted)
        cache = self._opened[1]
        return self._without_copies(planned.with_hashes(cache.sha256), cache)

    def _without_copies(self, hashed: Splits, cache: ImageCache) -> tuple[Splits, ImageCache, np.ndarray]:
        """The splits in which no picture plays two roles, the cache, and for each row its place in it."""
        if self.duplicates == "error":
            refuse_copies(hashed, cache.digests)
            return hashed, cache, np.arange(len(hashed))
        keep, dropped = drop_copies(hashed, cache.digests)
        if dropped:
            log.warning("dropped %d copies of pictures in other roles: %s", len(dropped), listed(dropped))
        kept = hashed.take(keep)
        check_identities(kept, "after dropping copies")
        return kept, cache, keep

    def _number_people(self) -> np.ndarray:
        """For each row its person's number, counted from 0 within the private and within the public
        people."""
        numbers = np.empty(len(self.splits), dtype=np.int64)
        for roles in (ROLES[:2], ROLES[2:]):
            rows = self.splits.rows(*roles)
            numbers[rows] = np.unique(self.splits.identity[rows].astype(str), return_inverse=True)[1]
        return numbers

    def _rows(self, role: Role) -> np.ndarray:
        """Rows of one role, ascending, without the public pictures that ``public_attribute`` leaves out."""
        rows = self.splits.rows(role)
        if role != "public" or self.public_attribute is None:
            return rows
        if self.public_attribute not in self.attribute_names:
            raise ValueError(
                f"public_attribute {self.public_attribute!r} is none of {', '.join(self.attribute_names)}"
            )
        column = self.attribute_names.index(self.public_attribute)
        return rows[self.splits.attributes[rows, column] == 1]

    def faces(self, role: Role) -> FaceDataset:
        """The images of one role."""
        rows = self._rows(role)
        return self._dataset(rows, self._number[rows])

    def labelled(self, attributes: list[str]) -> FaceDataModule:
        """The same pictures in the same roles, with other attributes; set up.

        Raises:
            ValueError: the data has no such attribute, or not of every picture.
        """
        other = copy(self)
        other.__dict__.pop("_planned", None)
        other._read_by = None
        other.attributes = attributes
        other._open()
        if list(other.splits.image) != list(self.splits.image):
            raise ValueError(
                f"some pictures have no label for {', '.join(attributes)}: name other attributes"
            )
        return other

    def training_faces(self, role: FitRole) -> FaceDataset:
        """The images of one role that are trained with: leaked private ones join the public ones, their
        people numbered on from those."""
        if role != "public" or not self.private_exposure:
            return self.faces(role)
        leaked = exposed_rows(self.splits, self.private_exposure, self.seed)
        rows = np.union1d(self._rows(role), leaked)
        return self._dataset(rows, self._number[rows] + self.n_public_identities * np.isin(rows, leaked))

    def _dataset(self, rows: np.ndarray, people: np.ndarray) -> FaceDataset:
        return FaceDataset(self._cache, self._positions[rows], rows, people, self.splits.attributes[rows])

    def manifest(self, role: Role) -> list[Tensor]:
        """Rows of one role, in the seeded batches that are protected together."""
        return self._batched(self._rows(role))

    def _batched(self, rows: np.ndarray) -> list[Tensor]:
        return manifest(torch.from_numpy(rows), self.manifest_batch_size, self.seed)

    def write_splits(self, path: str | Path) -> None:
        """Write ``splits.csv`` (image, sha256, identity, role), readable by its owner alone."""
        self.splits.write(path)

    def fingerprint(self) -> str:
        """Hash of everything the numbers depend on, without decoding a picture and without any path."""
        table, splits = self._planned
        columns = [list(column) for column in (splits.image, splits.identity, splits.role)]
        labels = [list(table.attribute_names), splits.attributes.tobytes().hex()]
        use = [
            self.fit_role,
            self.predict_role,
            self.batch_size,
            self.manifest_batch_size,
            self.seed,
            self.duplicates,
            *([self.public_attribute] if self.public_attribute else []),
            *([["predict_limit", self.predict_limit]] if self.predict_limit else []),
            *([["predict_skip", self.predict_skip]] if self.predict_skip else []),
            *([["private_exposure", self.private_exposure]] if self.private_exposure else []),
        ]
        return _digest([type(self).__name__, self.image_size, columns, labels, use, self._source])

    def sizes(self) -> dict[str, int]:
        """What networks have to know of the data, without decoding a picture: ``image_size``,
        ``n_attributes``, ``n_private_identities``, ``n_public_identities`` (with copies still among them)."""
        table, splits = self._planned
        private, public = (
            len(np.unique(splits.identity[splits.rows(*roles)].astype(str)))
            for roles in (["private_train"], ["public", "public_val"])
        )
        return {
            "image_size": self.image_size,
            "n_attributes": len(table.attribute_names),
            "n_private_identities": private,
            "n_public_identities": public,
        }

    @property
    def _fit_roles(self) -> list[FitRole]:
        return self.fit_role if isinstance(self.fit_role, list) else [self.fit_role]

    def train_dataloader(self) -> DataLoader[Any]:
        epoch = self.trainer.current_epoch if self.trainer else 0
        role = self._fit_roles[epoch % len(self._fit_roles)]
        return self.training_loader(self.training_faces(role), self.trainer)

    def val_dataloader(self) -> DataLoader[Any] | list[DataLoader[Any]]:
        if "public" not in self._fit_roles:
            return []
        return self.validation_loader(self.faces("public_val"))

    def drawn(self, role: Role) -> np.ndarray:
        """Rows of one role in the order in which ``predict_limit`` takes them."""
        return np.random.default_rng(self.seed).permutation(self._rows(role))

    def protected_faces(self) -> FaceDataset:
        """The images of ``predict_role`` that are protected: all, or ``predict_limit`` of them.

        Raises:
            ValueError: ``predict_skip`` leaves none.
        """
        rows = self._rows(self.predict_role)
        if self.predict_limit is not None or self.predict_skip:
            drawn = self.drawn(self.predict_role)[self.predict_skip :]
            if not len(drawn):
                raise ValueError(
                    f"predict_skip: {self.predict_skip} passes over all {len(rows)} of {self.predict_role}"
                )
            rows = np.sort(drawn[: self.predict_limit])
        return self._dataset(rows, self._number[rows])

    def predict_dataloader(self) -> DataLoader[Any]:
        faces = self.protected_faces()
        return self._loader(ManifestDataset(faces, self._batched(faces.rows.numpy())), batch_size=None)

    def training_loader(self, dataset: Any, trainer: Any, first: int = 0) -> DataLoader[Any]:
        """Shuffled batches of `dataset`, or this rank's part of each; see EpochShuffle."""
        share = shares(trainer, self.batch_size)
        order = EpochShuffle(len(dataset), self.seed, self.batch_size, **share, first=first)
        return self._loader(dataset, sampler=order, batch_size=self.batch_size // share["ranks"])

    def validation_loader(self, dataset: Any) -> DataLoader[Any]:
        """All of `dataset` in its order, on every rank."""
        return self._loader(dataset, sampler=all_on_every_rank(len(dataset)), batch_size=self.batch_size)

    def _loader(self, dataset: Any, **options: Any) -> DataLoader[Any]:
        workers = {"num_workers": self.num_workers, "persistent_workers": self.num_workers > 0}
        return DataLoader(dataset, collate_fn=uncollated, **workers, **options)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
