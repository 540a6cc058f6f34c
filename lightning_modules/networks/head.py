"""The development scenario: the cloud trains f on features that users protected."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from facecrafter.losses.games import Task, task_loss
from facecrafter.metrics.utility import MeanAUC
from facecrafter.nets.split import split_network
from lightning_modules.artifacts import FeatureNetwork
from lightning_modules.checks import fitted_data, refuse_other_pairs
from lightning_modules.training import SeededBatches, one_cycle


class HeadTraining(SeededBatches, FeatureNetwork):
    """Learns f, features -> logits, and reports its mean AUC on raw features of held-out public images.

    Features that the data brings (`datamodules.CrowdsourcedFeatures`: protected ones of private-train
    images) are used as they are; beside them public images may stand. Of images alone it takes the raw
    features: on public images that is the scenario's naive baseline, training on public data only, which
    needs no private image and so no defence.
    The published code trains 40 binary attributes with one cross-entropy over all; here each has its own.

    Args:
        encoder: artifact folder of the target network or defence whose features are read. In this scenario
            it knows no attribute: a TargetNetwork with loss=identities, trained on public people.
        n_outputs: attributes of the data.
        arch, split, arch_args: f is the head of this network, cut as a TargetNetwork's; its features must
            have the shape of the encoder's.
        task: `attributes`, or `classes` where each image has one of them.
        learning_rate: peak of AdamW's one-cycle schedule.
        weight_decay: of AdamW.
    """

    VERSION = 1

    def __init__(
        self,
        encoder: str,
        n_outputs: int,
        arch: str = "resnet18",
        task: Task = "attributes",
        learning_rate: float = 2e-3,
        weight_decay: float = 0.05,
        split: str | None = None,
        arch_args: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(encoder)
        head = split_network(arch, n_outputs, split, arch_args).head
        self.head = head.to(memory_format=torch.channels_last)
        self.n_outputs, self.arch = n_outputs, arch
        self.task: Task = task
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.auc = MeanAUC()

    @property
    def network(self) -> nn.Module:
        """f: features (N, C, h, w) -> logits (N, n_outputs)."""
        return self.head

    def setup(self, stage: str) -> None:
        datamodule = fitted_data(self, stage)
        if datamodule is None:
            return
        refuse_other_pairs(self)
        labels = len(datamodule.attribute_names)
        if labels != self.n_outputs:
            raise ValueError(
                f"the data has {labels} attributes but n_outputs={self.n_outputs}; set n_outputs={labels}"
            )
        self._refuse_other_shapes(getattr(datamodule, "data", datamodule).image_size)

    def _refuse_other_shapes(self, image_size: int) -> None:
        shape = self.shape_read(image_size)
        head = deepcopy(self.head).to("meta").eval()
        try:
            head(torch.zeros(1, *shape, device="meta"))
        except RuntimeError as error:
            raise ValueError(
                f"the head of arch={self.arch} reads no features {shape}, as the encoder in "
                f"{self.encoder_folder} makes them: name the arch, split and arch_args that it has"
            ) from error

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss = task_loss(self(self._features(batch)), batch["attributes"], self.task)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        logits = self(self._raw(batch))
        self.auc.update(logits.float(), batch["attributes"], rows=batch["row"])
        loss = task_loss(logits, batch["attributes"], self.task)
        self.log("val/loss", loss, sync_dist=True, batch_size=len(logits))
        self.log("val/auc", self.auc, prog_bar=True)

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.AdamW(
            self.head.parameters(), self.learning_rate, weight_decay=self.weight_decay, fused=True
        )
        return one_cycle(self, optimizer)

    def _features(self, batch: dict[str, Tensor]) -> Tensor:
        """What f learns from: the features in the batch, or those of its images, or some of each."""
        if "features" not in batch:
            return self._raw(batch)
        if "protected" not in batch:
            return batch["features"]
        features, own = batch["features"], ~batch["protected"]
        raw = self._raw({"image": batch["image"][own]}).to(features.dtype)
        # In the places of the images that nobody protected: the order of the batch stays.
        return features.masked_scatter(own[:, None, None, None], raw)

    @torch.no_grad()
    def _raw(self, batch: dict[str, Tensor]) -> Tensor:
        return self.encoder.on(self.device)(batch["image"])
