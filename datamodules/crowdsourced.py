"""What the cloud trains with in the development scenario: protected features of its users."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datamodules.datasets import FaceDataset
from datamodules.faces import FaceDataModule
from datamodules.protected import PairDataset, StoredFeatures, refuse_others
from facecrafter.store import TensorStore


class UnionDataset(Dataset[dict[str, Tensor]]):
    """Images that are the cloud's own, then protected features of its users.

    A batch has `features` for all of its images, and `protected` (N,) bool says which of them there are: of
    the others, the cloud makes the features itself.
    """

    def __init__(self, own: FaceDataset, crowd: PairDataset) -> None:
        self.own, self.crowd = own, crowd

    def __len__(self) -> int:
        return len(self.own) + len(self.crowd)

    def __getitems__(self, positions: Sequence[int]) -> dict[str, Tensor]:
        """A whole training batch, its own images first; one that is all of a kind has no `protected`."""
        count = len(self.own)
        mine = [place for place in positions if place < count]
        theirs = [place - count for place in positions if place >= count]
        if not (mine and theirs):
            return self.own.__getitems__(mine) if mine else self.crowd.__getitems__(theirs)
        own, crowd = self.own.__getitems__(mine), self.crowd.__getitems__(theirs)
        missing = crowd["features"].new_zeros(len(mine), *crowd["features"].shape[1:])
        batch = {name: torch.cat([own[name], crowd[name]]) for name in own}
        protected = torch.arange(len(positions)) >= len(mine)
        return batch | {"features": torch.cat([missing, crowd["features"]]), "protected": protected}


class CrowdsourcedFeatures(pl.LightningDataModule):
    """Training batches as of FaceDataModule with `features`; validation batches of public_val images.

    The features come from a store that `experiments.fit` wrote with `predict_role: private_train`, of all
    those images or of some (`predict_limit`). The cloud has no image of its users: who trains with these
    batches reads their features and labels alone.

    Args:
        data: the faces that were protected. Its batch size and workers are used here.
        features: folder of the store.
        with_public: train on the public images as well: in the paper f of X_pub ∪ X_pvt is compared with f of
            X_pub.
    """

    def __init__(self, data: FaceDataModule, features: str, with_public: bool = False) -> None:
        super().__init__()
        self.data, self.store, self.with_public = data, features, with_public

    @property
    def encoder_hash(self) -> str:
        """What names the encoder that made the features."""
        return str(TensorStore.open(self.store).meta["encoder"])

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """What the labels are called."""
        return self.data.attribute_names

    def fingerprint(self) -> str:
        """Hash of what the numbers depend on, but for the store: the stage that writes it has its own key."""
        own = f"{self.data.fingerprint()}/{self.with_public}"
        return hashlib.sha256(own.encode()).hexdigest()

    def prepare_data(self) -> None:
        """Decode and check the faces."""
        self.data.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """Check the store.

        Raises:
            ValueError: it is unfinished, holds others than private-train images, or less than a batch.
        """
        self.data.setup("predict")
        faces, features = self.data.faces("private_train"), StoredFeatures(TensorStore.open(self.store))
        refuse_others(self.store, features, faces, "private_train", "but only those are contributed")
        crowd = PairDataset(faces, features, features.rows)
        self.train = UnionDataset(self.data.faces("public"), crowd) if self.with_public else crowd
        if len(self.train) < self.data.batch_size:
            raise ValueError(
                f"batch_size {self.data.batch_size} exceeds the {len(self.train)} images in {self.store}: "
                "lower it"
            )

    def train_dataloader(self) -> DataLoader[Any]:
        own = len(self.data.faces("public")) if self.with_public else 0
        return self.data.training_loader(self.train, self.trainer, first=own)

    def val_dataloader(self) -> DataLoader[Any]:
        return self.data.validation_loader(self.data.faces("public_val"))
