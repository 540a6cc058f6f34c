"""Pairs of protected feature and image, from which an adaptive attacker learns (A1)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from safetensors import safe_open
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datamodules.datasets import FaceDataset
from datamodules.faces import FaceDataModule
from facecrafter.store import TensorStore


class StoredFeatures:
    """The features of a store by row, read when they are asked for: memory does not grow with the store.

    Attributes:
        rows: (N,) int64, ascending.
    """

    def __init__(self, store: TensorStore) -> None:
        """Reads the whole store once, a batch at a time, to check its bytes and to see which rows are where.

        Raises:
            ValueError: a batch is missing or damaged, or a row appears twice.
        """
        if missing := store.missing():
            raise ValueError(
                f"{store.path} is unfinished: batches {missing[:8]} are missing; protect them first"
            )
        batches = {number: store.read(number)["row"] for number in sorted(store.numbers())}
        self.store = store
        self.rows, order = torch.cat(list(batches.values())).sort()
        if (self.rows.diff() == 0).any():
            raise ValueError(f"{store.path} holds a row twice; delete it and run again")
        places = [(number, place) for number, rows in batches.items() for place in range(len(rows))]
        self._places = torch.tensor(places)[order]

    def __call__(self, rows: Tensor) -> Tensor:
        """Features (N, C, h, w) of the images in these rows."""
        places = self._places[torch.searchsorted(self.rows, rows)]
        return torch.stack([self._read(number, place) for number, place in places.tolist()])

    def _read(self, number: int, place: int) -> Tensor:
        # Opened for each image: a mapped file costs nothing while it is closed, and workers may fork.
        with safe_open(self.store.file(number), framework="pt") as file:
            return file.get_slice("features")[place].float()


class PairDataset(Dataset[dict[str, Tensor]]):
    """The batches of `faces` in the given rows, each with the features of its images."""

    def __init__(self, faces: FaceDataset, features: StoredFeatures, rows: Tensor) -> None:
        self.faces, self.features, self.rows = faces, features, rows

    def __len__(self) -> int:
        return len(self.rows)

    def images(self, positions: Sequence[int] | Tensor) -> Tensor:
        """Images (n, 3, S, S) in [0, 1]."""
        return self.faces.images(self._among_faces(positions))

    def __getitems__(self, positions: Sequence[int]) -> dict[str, Tensor]:
        """A whole training batch."""
        pictures = self.faces.__getitems__(self._among_faces(positions).tolist())
        return {**pictures, "features": self.features(pictures["row"])}

    def _among_faces(self, positions: Sequence[int] | Tensor) -> Tensor:
        return torch.searchsorted(self.faces.rows, self.rows[torch.as_tensor(positions)])


def refuse_others(store: str, features: StoredFeatures, faces: FaceDataset, role: str, why: str) -> None:
    """Raises ValueError if the store has features of other images than `faces`, which are those of `role`."""
    if others := features.rows[~torch.isin(features.rows, faces.rows)].tolist():
        raise ValueError(
            f"{store} holds {len(others)} images that are not {role} (rows {others[:5]}), {why}: protect "
            f"with predict_role: {role}"
        )


class ProtectedPairs(pl.LightningDataModule):
    """What an attacker learns who has its own images protected: batches as of FaceDataModule, with features.

    The features come from a store that `experiments.fit` wrote with `predict_role: public`, of all public
    images or of some (`predict_limit`). Some of the people are held out for validation.

    Args:
        data: the faces that were protected. Its batch size and workers are used here.
        features: folder of the store.
        val_fraction: fraction of the people in the store who are held out.
        pairs: only so many of the pairs, in the order in which ``predict_limit`` takes them: fewer are always
            among more. The people held out stay the same. None means all.
    """

    def __init__(
        self, data: FaceDataModule, features: str, val_fraction: float = 0.1, pairs: int | None = None
    ) -> None:
        super().__init__()
        if not 0 < val_fraction < 1:
            raise ValueError(f"val_fraction must lie between 0 and 1, not {val_fraction}")
        if pairs is not None and pairs < 1:
            raise ValueError(f"pairs must be at least 1, not {pairs}")
        self.data, self.store, self.val_fraction, self.pairs = data, features, val_fraction, pairs

    @property
    def cache_dir(self) -> Path:
        """Where what is worked out of the faces is kept."""
        return self.data.cache_dir

    @property
    def encoder_hash(self) -> str:
        """What names the encoder that made the features."""
        return str(TensorStore.open(self.store).meta["encoder"])

    def fingerprint(self) -> str:
        """Hash of what the numbers depend on, but for the store: the stage that writes it has its own key."""
        some = "" if self.pairs is None else f"/{self.pairs}"
        return hashlib.sha256(f"{self.data.fingerprint()}/{self.val_fraction}{some}".encode()).hexdigest()

    def prepare_data(self) -> None:
        """Decode and check the faces."""
        self.data.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """Check the store, and divide its people.

        Raises:
            ValueError: the store holds others than public images, or too few people or pairs.
        """
        self.data.setup("predict")
        faces, features = self.data.faces("public"), StoredFeatures(TensorStore.open(self.store))
        refuse_others(self.store, features, faces, "public", "but an attacker has no others")
        held_out, asked = self._held_out(faces, features), self._asked(features.rows)
        self.train = PairDataset(faces, features, features.rows[asked & ~held_out])
        self.val = PairDataset(faces, features, features.rows[asked & held_out])
        if not len(self.val):
            raise ValueError(
                f"none of the {self.pairs} pairs of {self.store} shows one of the people held out: take more"
            )
        if len(self.train) < self.data.batch_size:
            raise ValueError(
                f"batch_size {self.data.batch_size} exceeds the {len(self.train)} pairs to train with in "
                f"{self.store}: lower it"
            )

    def _held_out(self, faces: FaceDataset, features: StoredFeatures) -> Tensor:
        """Which of the store's rows show people who are held out, (N,) bool."""
        identities = faces.identities[torch.searchsorted(faces.rows, features.rows)]
        people = identities.unique()
        if len(people) < 2:
            raise ValueError(
                f"{self.store} shows {len(people)} people, but one is to be held out: protect more"
            )
        order = torch.randperm(len(people), generator=torch.Generator().manual_seed(self.data.seed))
        count = min(max(1, round(self.val_fraction * len(people))), len(people) - 1)
        return torch.isin(identities, people[order[:count]])

    def _asked(self, rows: Tensor) -> Tensor:
        """Which of the store's rows are among the first `pairs`, (N,) bool."""
        if self.pairs is None:
            return torch.ones(len(rows), dtype=torch.bool)
        if self.pairs >= len(rows):
            raise ValueError(
                f"pairs: {self.pairs} is not fewer than the {len(rows)} in {self.store}: leave it out for all"
            )
        drawn = torch.from_numpy(self.data.drawn("public"))
        return torch.isin(rows, drawn[torch.isin(drawn, rows)][: self.pairs])

    def train_dataloader(self) -> DataLoader[Any]:
        return self.data.training_loader(self.train, self.trainer)

    def val_dataloader(self) -> DataLoader[Any]:
        return self.data.validation_loader(self.val)
