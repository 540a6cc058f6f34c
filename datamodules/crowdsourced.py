"""What the cloud trains with in the development scenario: protected features of its users."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from datamodules.faces import FaceDataModule
from datamodules.protected import PairDataset, StoredFeatures, refuse_others
from datamodules.shuffling import EpochShuffle
from facecrafter.store import TensorStore


class CrowdsourcedFeatures(pl.LightningDataModule):
    """Training batches as of FaceDataModule with `features`; validation batches of public_val images.

    The features come from a store that `experiments.fit` wrote with `predict_role: private_train`, of all
    those images or of some (`predict_limit`). The cloud has no image of its users: who trains with these
    batches reads their features and labels alone.

    Args:
        data: the faces that were protected. Its batch size and workers are used here.
        features: folder of the store.
    """

    def __init__(self, data: FaceDataModule, features: str) -> None:
        super().__init__()
        self.data, self.store = data, features

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
        return self.data.fingerprint()

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
        self.train = PairDataset(faces, features, features.rows)
        if len(self.train) < self.data.batch_size:
            raise ValueError(
                f"batch_size {self.data.batch_size} exceeds the {len(self.train)} images in {self.store}: "
                "lower it"
            )

    def train_dataloader(self) -> DataLoader[Any]:
        order = EpochShuffle(len(self.train), self.data.seed)
        return self._loader(self.train, sampler=order, drop_last=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader(self.data.faces("public_val"))

    def _loader(self, dataset: Any, **options: Any) -> DataLoader[Any]:
        return self.data._loader(dataset, batch_size=self.data.batch_size, **options)
