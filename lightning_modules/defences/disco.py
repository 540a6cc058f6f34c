"""Disco: a pruner that switches off the channels which a reconstruction lives on (a rival)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facecrafter.losses.games import DistanceForm, published_distance, task_loss
from facecrafter.nets.decoder import Decoder
from facecrafter.nets.pruner import Pruner
from facecrafter.nets.target import feature_shape
from lightning_modules.defences.game import GameDefence, task_of

DISTANCES = {"published": published_distance, "per_image": F.mse_loss}


class Disco(GameDefence):
    """Disco (Singh et al., "DISCO: Dynamic and Invariant Sensitive Channel Obfuscation", CVPR 2021), for the
    deployment scenario; trained on the private-train images.

    On every batch, in this order: Enc and f descend the task loss of the pruned feature alone, the pruner's
    input being detached from Enc; the pruner descends (1 − λ)·task − λ·reconstruction; the adversary Dec
    descends the reconstruction's distance from the image, both from the pruned feature. The published code
    gives its pruner no gradient of the reconstruction and lets it ascend the task above λ = 0.5; not so here.
    Its `encoder` is Enc with the pruner behind it: a white-box attacker differentiates through both.

    Published: Adam with 3e-4 for everybody, 100 to 150 epochs, r of 0.6 to 0.99, and in Crafter's comparison
    λ of 0.2, 0.6 and 0.8.

    Args:
        target: artifact folder of the trained target network.
        image_size: side of the images that Dec reconstructs.
        lambda_: λ in [0, 1].
        loss: form of that distance: `published`, as in Crafter's comparison, or `per_image`, the mean squared
            error, beside which the pruner hears little but the task.
        ratio: r, the share of channels that are pruned.
        learning_rate: of the three Adams.
        width, blocks: of Dec, see `facecrafter.nets.decoder.Decoder`.
        seed, query: see Defence.
    """

    VERSION = 3

    def __init__(
        self,
        target: str,
        image_size: int,
        lambda_: float = 0.6,
        loss: DistanceForm = "published",
        ratio: float = 0.6,
        learning_rate: float = 3e-4,
        width: int = 64,
        blocks: int = 3,
        seed: int = 0,
        query: int = 0,
    ) -> None:
        super().__init__(target, lambda_, learning_rate, seed, query)
        self.task = task_of(self, target)
        self.distance = DISTANCES[loss]
        shape = feature_shape(self.encoder, image_size)
        # The pruner is a part of what is released, so of what an attacker differentiates.
        self.encoder = nn.Sequential(self.encoder, Pruner(shape[0], ratio))
        self.decoder = Decoder(shape, image_size, width, blocks)
        self.to(memory_format=torch.channels_last)

    def players(self) -> dict[str, nn.Module]:
        encoder, pruner = self.encoder
        return {
            "encoder": nn.ModuleList([encoder, self.head]),
            "pruner": pruner,
            "decoder": self.decoder,
        }

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.move(lambda: self.encoder_objective(batch), "encoder")
        self.move(lambda: self.pruner_objective(batch), "pruner")
        self.move(lambda: self.decoder_objective(batch), "decoder")

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """What the pruner would descend on people who are held out, where the data has some."""
        self.pruner_objective(batch)

    def encoder_objective(self, batch: dict[str, Tensor]) -> Tensor:
        """What Enc and f descend: the task, through the gates but not through what opens them."""
        encoder, pruner = self.encoder
        features = encoder(batch["image"])
        logits = self.head(features * pruner.gates(features.detach()))
        return task_loss(logits, batch["attributes"], self.task)

    def pruner_objective(self, batch: dict[str, Tensor]) -> Tensor:
        """What the pruner descends."""
        # Dec reads this very tensor. The published code binds it anew: its pruner gets no privacy gradient.
        pruned = self.encoder(batch["image"])
        task = task_loss(self.head(pruned), batch["attributes"], self.task)
        reconstruction = self.distance(self.decoder(pruned), batch["image"])
        self.note(task=task, distance=reconstruction)
        # Minus the distance: the pruner wants Dec to be far off.
        return (1 - self.lambda_) * task - self.lambda_ * reconstruction

    def decoder_objective(self, batch: dict[str, Tensor]) -> Tensor:
        """What the simulated adversary descends."""
        return self.distance(self.decoder(self.encoder(batch["image"])), batch["image"])
