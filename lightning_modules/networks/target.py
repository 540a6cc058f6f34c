"""The target network f∘Enc, whose features Crafter protects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.rank_zero import rank_zero_info
from torch import Tensor, nn
from torch.nn import functional as F

from facecrafter.metrics.utility import MeanAUC
from facecrafter.nets.augmentation import flip_and_shift
from facecrafter.nets.maps import ToMap, choose_unit, with_maps
from facecrafter.nets.split import split_network
from facecrafter.nets.target import SplitNetwork
from facecrafter.nets.tracing import out_of_place
from facecrafter.nets.weights import load_into, read_state_dict
from lightning_modules.checks import fitted_data
from lightning_modules.training import batches, one_cycle

_MEASURED = 64  # images, by which the size of features is known well enough

Loss = Literal["attributes", "classes", "identities"]


class TargetNetwork(LightningModule):
    """Enc∘f, trained on labelled images; `encoder` runs at the edge and `head` in the cloud.

    Args:
        n_outputs: of the head; as many as the data has attributes (identities for the loss `identities`).
        arch: resnet18, vgg16 or resnet50, split as in the paper; resnet18_quarter, of a quarter of the
            channels; or any other network, see docs/encoders.md.
        split: the layer behind which any other network is cut.
        arch_args: what any other network is made with.
        loss: `attributes`, binary cross-entropy of each; `classes`, cross-entropy over attributes of which
            each image has one; `identities`, cross-entropy over public identities, for an encoder that
            knows no attribute.
        learning_rate: peak of AdamW's one-cycle schedule.
        weight_decay: of AdamW.
        shift: training images are mirrored and moved by up to this part of their side; 0 switches both off.
        encoder: your own, images (N, 3, H, W) in [0, 1] -> features (N, C, h, w); it replaces `arch`, with
            `head`. Of vectors (N, C) and patch tokens (N, h·w, C) maps are made, and undone before `head`.
        head: your own, features -> logits (N, n_outputs).
        weights: file of a state dict with `encoder.` and `head.` parameters to start from.
    """

    VERSION = 1

    def __init__(
        self,
        n_outputs: int,
        arch: str = "resnet18",
        loss: Loss = "attributes",
        learning_rate: float = 2e-3,
        weight_decay: float = 0.05,
        shift: float = 0.06,
        encoder: nn.Module | None = None,
        head: nn.Module | None = None,
        weights: str | None = None,
        split: str | None = None,
        arch_args: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.head = _split(arch, n_outputs, encoder, head, split, arch_args)
        if weights is not None:
            self._start_from(weights, {"encoder": encoder, "head": head})
        self.to(memory_format=torch.channels_last)
        self.n_outputs = n_outputs
        self.loss = loss
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.shift = shift
        self.auc = MeanAUC()

    def _start_from(self, weights: str, own: dict[str, nn.Module | None]) -> None:
        """Loads a file with the names of an artifact, or with those of the user's own halves."""
        state = read_state_dict(weights)
        try:
            load_into(self, state, weights)
        except ValueError:
            if None in own.values():
                raise
            load_into(nn.ModuleDict(own), state, weights)

    @staticmethod
    def sizes_from_data(init_args: Mapping[str, Any]) -> dict[str, str]:
        """Which of the data's numbers `n_outputs` is; configurations may leave it out."""
        by_identity = init_args.get("loss") == "identities"
        return {"n_outputs": "n_public_identities" if by_identity else "n_attributes"}

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) in [0, 1] -> logits (N, n_outputs)."""
        return self.head(self.encoder(images.contiguous(memory_format=torch.channels_last)))

    def setup(self, stage: str) -> None:
        datamodule = fitted_data(self, stage)
        if datamodule is None:
            return
        by_identity = self.loss == "identities"
        labels = datamodule.n_public_identities if by_identity else len(datamodule.attribute_names)
        if labels != self.n_outputs:
            kind = "public identities" if by_identity else "attributes"
            raise ValueError(
                f"the data has {labels} {kind} but n_outputs={self.n_outputs}; set n_outputs={labels}"
            )

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        images = batch["image"]
        # Mirrored and moved only: colours and details may be attributes themselves.
        if self.shift > 0:
            images = flip_and_shift(images, self.shift)
        loss = self._loss(self(images), batch)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        if self.loss == "identities":
            return  # held-out people are in none of its classes
        logits = self(batch["image"])
        # By row: ranks share the images out with repeats, which count once.
        self.auc.update(logits.float(), batch["attributes"], rows=batch["row"])
        self.log("val/loss", self._loss(logits, batch), sync_dist=True, batch_size=len(logits))
        self.log("val/auc", self.auc, prog_bar=True)

    def on_fit_end(self) -> None:
        """Choose the unit of its features, now that training no longer changes their size."""
        datamodule = fitted_data(self, "fit")
        # The networks of the paper have none, and features of about 1.
        if datamodule is None or not any(isinstance(layer, ToMap) for layer in self.encoder.modules()):
            return
        faces = datamodule.train_dataloader().dataset
        some = batches(self, faces, torch.arange(min(len(faces), _MEASURED)))
        images = torch.cat([batch["image"] for batch in some])
        unit = choose_unit(SplitNetwork(self.encoder, self.head), images)
        if unit != 1:
            rank_zero_info(f"features are about {unit:g}: they are sent in this unit, which the head undoes")

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.AdamW(
            self.parameters(), self.learning_rate, weight_decay=self.weight_decay, fused=True
        )
        return one_cycle(self, optimizer)

    def _loss(self, logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
        if self.loss == "attributes":
            return F.binary_cross_entropy_with_logits(logits, batch["attributes"])
        return F.cross_entropy(logits, batch["identity" if self.loss == "identities" else "attributes"])


def _split(
    arch: str,
    n_outputs: int,
    encoder: nn.Module | None,
    head: nn.Module | None,
    split: str | None,
    arch_args: dict[str, Any] | None,
) -> SplitNetwork:
    if encoder is not None and head is not None:
        return with_maps(out_of_place(encoder), head)
    if encoder is not None or head is not None:
        raise ValueError("an encoder of your own needs a head of your own, and the other way round")
    return split_network(arch, n_outputs, split, arch_args)
