"""The black-box attacker's decoder, trained on pairs of feature and image."""

from __future__ import annotations

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR

from facecrafter.nets import decoder as nets
from facecrafter.nets.target import feature_shape
from lightning_modules.frozen import Frozen, load_encoder


class Decoder(LightningModule):
    """Learns x from Enc(x) on the attacker's own images; `decoder` maps features to images in [0, 1].

    Pairs that the data brings (`features` in the batch, as after an attacker protected images) are used as
    they are; otherwise features are computed from the batch's images. The encoder belongs to its own
    artifact and is in neither optimizer nor checkpoint.

    Args:
        encoder: artifact folder of the target network or defence whose features are decoded.
        image_size: side of the images.
        linear: the paper's decoder, whose first layer is dense, in place of the convolutional one.
        width: channels of the convolutional decoder.
        blocks: its residual blocks at the feature's resolution.
        learning_rate: peak of Adam's one-cycle schedule.
        mirror: every other image of a batch is mirrored (only where features are computed here).
    """

    VERSION = 1

    def __init__(
        self,
        encoder: str,
        image_size: int,
        linear: bool = False,
        width: int = 64,
        blocks: int = 3,
        learning_rate: float = 1e-3,
        mirror: bool = True,
    ) -> None:
        super().__init__()
        network = load_encoder(encoder)
        shape = feature_shape(network, image_size)
        self.encoder = Frozen(network)
        self.decoder = (
            nets.LinearDecoder(shape, image_size)
            if linear
            else nets.Decoder(shape, image_size, width, blocks)
        ).to(memory_format=torch.channels_last)
        self.learning_rate = learning_rate
        self.mirror = mirror

    @property
    def network(self) -> nn.Module:
        """What an attack uses: features (N, C, h, w) -> images (N, 3, H, W) in [0, 1]."""
        return self.decoder

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, C, h, w) -> images (N, 3, H, W) in [0, 1]."""
        return self.decoder(features.contiguous(memory_format=torch.channels_last))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        features, images = self._pairs(batch, self.mirror)
        loss = F.mse_loss(self(features), images)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Mean squared error per pixel value, averaged over the batch (Equation 2, squared)."""
        features, images = self._pairs(batch, mirror=False)
        return F.mse_loss(self(features), images)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        loss = self.validation_loss(batch)
        self.log("val/loss", loss, prog_bar=True, sync_dist=True, batch_size=len(batch["image"]))

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.Adam(self.decoder.parameters(), self.learning_rate, fused=True)
        schedule = OneCycleLR(optimizer, self.learning_rate, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @torch.no_grad()
    def example_images(self, batch: dict[str, Tensor]) -> Tensor:
        """(N, 3, H, 2W): each image with its reconstruction to the right of it."""
        features, images = self._pairs(batch, mirror=False)
        return torch.cat([images, self(features).float()], dim=3)

    def _pairs(self, batch: dict[str, Tensor], mirror: bool) -> tuple[Tensor, Tensor]:
        images = batch["image"]
        if "features" in batch:
            return batch["features"], images
        if mirror:
            images = torch.cat([images[::2], images[1::2].flip(3)])
        with torch.no_grad():
            return self.encoder.on(self.device)(images), images
