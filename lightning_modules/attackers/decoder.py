"""The black-box attacker's decoder, trained on pairs of feature and image."""

from __future__ import annotations

from abc import abstractmethod

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F

from facecrafter.nets import decoder as nets
from facecrafter.nets.augmentation import mirror_every_other
from facecrafter.nets.withheld import Fill
from lightning_modules.artifacts import FeatureNetwork, load_artifact
from lightning_modules.attackers.filling import FillingReader
from lightning_modules.checks import refuse_other_pairs
from lightning_modules.training import one_cycle


class PairedDecoder(FillingReader, FeatureNetwork):
    """What decoders share: the pairs of feature and image that they learn from, their steps and schedule.

    Pairs that the data brings (`features` in the batch, as after an attacker protected images) are used as
    they are; otherwise features are computed from the batch's images.

    With `start`, training goes on from another decoder at a constant rate, so that every epoch could have
    been the last. On pairs of protected features that is the adaptive attack A1 (Equation 36).

    Args:
        encoder: artifact folder of the target network or defence whose features are decoded.
        learning_rate: peak of Adam's one-cycle schedule; with `start`, Adam's constant rate.
        mirror: every other image of a batch is mirrored (only where features are computed here).
        start: artifact folder of a decoder of the same layers to go on from, or of a defence that was
            trained against one: its simulated adversary, with which the attack of the published comparison
            begins.
        layers: of f, behind the split, that are decoded in place of the feature; see FeatureReader.

    Attributes:
        decoder: the network that learns.
    """

    decoder: nn.Module

    def __init__(
        self,
        encoder: str,
        learning_rate: float,
        mirror: bool,
        start: str | None,
        layers: dict[str, float] | None,
    ) -> None:
        super().__init__(encoder, layers)
        self.learning_rate = learning_rate
        self.mirror = mirror
        self.start = start

    @property
    def network(self) -> nn.Module:
        """Features (N, C, h, w), or h of them -> images (N, 3, H, W) in [0, 1], or draws of them."""
        return nn.Sequential(self.fill, self.shown)

    @property
    def shown(self) -> nn.Module:
        """The decoder that attacks use, behind what fills."""
        return self.decoder

    @abstractmethod
    def pair_loss(self, features: Tensor, images: Tensor) -> Tensor:
        """What is descended, on features as `network` takes them and the images (N, 3, H, W) behind them."""

    def setup(self, stage: str) -> None:
        if stage == "fit":
            refuse_other_pairs(self)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor | None:
        loss = self.pair_loss(*self._pairs(batch, self.mirror))
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_loss(self, batch: dict[str, Tensor]) -> Tensor:
        """The same loss of held-out people's images, none of them mirrored."""
        return self.pair_loss(*self._pairs(batch, mirror=False))

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        loss = self.validation_loss(batch)
        self.log("val/loss", loss, prog_bar=True, sync_dist=True, batch_size=len(batch["image"]))

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.Adam(self.decoder.parameters(), self.learning_rate, fused=True)
        if self.start is not None:
            return {"optimizer": optimizer}
        return one_cycle(self, optimizer)

    def _pairs(self, batch: dict[str, Tensor], mirror: bool) -> tuple[Tensor, Tensor]:
        images = batch["image"]
        # The encoder is somebody else's: a black-box attacker asks it, and has no derivatives of it.
        with torch.no_grad():
            if mirror and "features" not in batch:
                images = mirror_every_other(images)
            return self.read(self.features_of({**batch, "image": images})), images


class Decoder(PairedDecoder):
    """Learns x from Enc(x) on the attacker's own images; `decoder` maps features to images in [0, 1].

    Args:
        encoder, learning_rate, mirror, start: see PairedDecoder.
        image_size: side of the images.
        linear: the paper's decoder, whose first layer is dense, in place of the convolutional one.
        width: channels of the convolutional decoder.
        blocks: its residual blocks at the feature's resolution.
        layers: see PairedDecoder. Where they are no map, but a vector, the decoder is the paper's.
    """

    VERSION = 2

    def __init__(
        self,
        encoder: str,
        image_size: int,
        linear: bool = False,
        width: int = 64,
        blocks: int = 3,
        learning_rate: float = 1e-3,
        mirror: bool = True,
        start: str | None = None,
        layers: dict[str, float] | None = None,
    ) -> None:
        super().__init__(encoder, learning_rate, mirror, start, layers)
        shape = self.shape_read(image_size)
        self.fill = Fill(shape)
        self.decoder = (
            nets.LinearDecoder(shape, image_size)
            if linear or shape[1:] == (1, 1)
            else nets.Decoder(shape, image_size, width, blocks)
        ).to(memory_format=torch.channels_last)
        if start is not None:
            go_on_from(start, self)

    def pair_loss(self, features: Tensor, images: Tensor) -> Tensor:
        """Mean squared error per pixel value, averaged over the batch (Equation 2, squared)."""
        return F.mse_loss(self(features), images)

    @torch.no_grad()
    def example_images(self, batch: dict[str, Tensor]) -> Tensor:
        """(N, 3, H, 2W): each image with its reconstruction to the right of it."""
        features, images = self._pairs(batch, mirror=False)
        return torch.cat([images, self(features).float()], dim=3)


def go_on_from(folder: str, decoder: PairedDecoder) -> None:
    """Copies the weights of the decoder in the artifact `folder`, and what is usual to it.

    Raises:
        ValueError: it holds none, or its layers are others.
    """
    module = load_artifact(folder, LightningModule)
    is_attacker = isinstance(module, PairedDecoder)
    # Of a decoder what attacks use, so that the first epoch of A1 is the basic attack.
    found = module.shown if is_attacker else getattr(module, "decoder", None)
    if not isinstance(found, nn.Module):
        raise ValueError(
            f"{folder} holds no decoder to start from: name a decoder's folder, or that of a defence which "
            "was trained against one"
        )
    try:
        decoder.decoder.load_state_dict(found.state_dict())
        if is_attacker:  # the adversary in a defence's game was never shown a feature with channels withheld
            decoder.fill_as(module)
    except RuntimeError as error:
        raise ValueError(
            f"the decoder in {folder} has other layers ({error}); "
            "give it and this one the same class and image_size, and the same linear, width and blocks"
        ) from error
