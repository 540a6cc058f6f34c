"""A black-box decoder that is also judged by how its images look, not by their pixels alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facecrafter.nets.critic import Critic
from lightning_modules.attackers.decoder import Decoder
from lightning_modules.checks import require_unused_parameters
from lightning_modules.training import descend

BETAS = (0.5, 0.999)


class AdversarialDecoder(Decoder):
    """Decoder trained with a perceptual and an adversarial term beside the squared error.

    A critic learns beside it to tell images from reconstructions by the hinge loss (Lim and Ye 2017). The
    adversarial term is minus the critic's score; the perceptual one is the distance between the critic's
    hidden maps of the reconstruction and of the image (Larsen et al. 2016, Wang et al. 2018). Distances in
    the encoder's features would need its derivatives, which a black-box attacker does not have, and those in
    a pretrained network's would need weights from elsewhere.

    Args:
        encoder, image_size: see Decoder.
        perceptual: weight of the mean distance between the maps, relative to the squared error per value.
        adversarial: weight of the critic's score.
        critic_width: channels of the critic's first layer.
        critic_learning_rate: of its Adam, constant.
        kwargs: see Decoder.
    """

    VERSION = 2

    def __init__(
        self,
        encoder: str,
        image_size: int,
        perceptual: float = 0.02,
        adversarial: float = 0.0003,
        critic_width: int = 32,
        critic_learning_rate: float = 2e-4,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, image_size, **kwargs)
        if perceptual < 0 or adversarial < 0:
            raise ValueError(f"perceptual={perceptual} and adversarial={adversarial} must not be negative")
        self.automatic_optimization = False
        self.perceptual = perceptual
        self.adversarial = adversarial
        self.critic = Critic(image_size, critic_width)
        self.critic_learning_rate = critic_learning_rate

    def setup(self, stage: str) -> None:
        super().setup(stage)
        require_unused_parameters(self)

    def configure_optimizers(self) -> list[dict]:
        optimizer = torch.optim.Adam(self.critic.parameters(), self.critic_learning_rate, BETAS)
        return [super().configure_optimizers(), {"optimizer": optimizer}]

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        features, images = self._pairs(batch, self.mirror)
        decoder_optimizer, critic_optimizer = self.optimizers()
        shown = self(features).float()
        descend(self, self._critic_loss(images, shown.detach()), critic_optimizer)
        # The decoder's loss goes through the critic, whose own gradients would be computed for nothing.
        self.critic.requires_grad_(False)
        descend(self, self._decoder_loss(images, shown), decoder_optimizer)
        self.critic.requires_grad_(True)
        if schedule := self.lr_schedulers():
            schedule.step()

    def _critic_loss(self, images: Tensor, shown: Tensor) -> Tensor:
        real, fake = self.critic(torch.cat([images, shown])).float().chunk(2)
        loss = (1 - real).relu().mean() + (1 + fake).relu().mean()
        self.log("train/critic", loss)
        return loss

    def _decoder_loss(self, images: Tensor, shown: Tensor) -> Tensor:
        with torch.no_grad():
            *real, _ = hidden_maps(self.critic, images)
        *fake, scores = hidden_maps(self.critic, shown)
        error, distance = F.mse_loss(shown, images), map_distance(real, fake)
        self.log_dict({"train/loss": error, "train/perceptual": distance}, prog_bar=True)
        return error + self.perceptual * distance - self.adversarial * scores.float().mean()


def hidden_maps(critic: nn.Sequential, images: Tensor) -> list[Tensor]:
    """The outputs of a critic's activations, and last its scores (N,)."""
    maps, x = [], images.contiguous(memory_format=torch.channels_last)
    for layer in critic:
        x = layer(x)
        if isinstance(layer, nn.LeakyReLU):
            maps.append(x)
    return [*maps, x]


def map_distance(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """Mean |difference| of two sets of maps (N, C, h, w), every map with the same weight."""
    distances = [F.l1_loss(a.float(), b.float()) for a, b in zip(first, second, strict=True)]
    return torch.stack(distances).mean()
