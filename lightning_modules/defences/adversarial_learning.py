"""Adversarial learning: encoder and head trained against a decoder that reconstructs (a rival)."""

from __future__ import annotations

from torch import Tensor, nn

from facecrafter.losses.games import DistanceForm, image_distance, published_distance, task_loss
from facecrafter.store import encoder_hash
from lightning_modules.artifacts import load_reader
from lightning_modules.attackers.decoder import Decoder
from lightning_modules.checks import fitted_data
from lightning_modules.defences.game import GameDefence, task_of

TURNS = ("public", "private_train")
DISTANCES = {"published": published_distance, "per_image": image_distance}


class AdversarialLearning(GameDefence):
    """Adv Learning (Xiao et al., "Adversarial Learning of Privacy-Preserving and Task-Oriented
    Representations", AAAI 2020), for the deployment scenario.

    Epochs alternate: Dec descends ‖x − Dec(Enc(x))‖/(H·W) on the attacker's public images with Enc and f
    frozen; then Enc and f descend (1 − λ)·task − λ·‖x − Dec(Enc(x))‖/(H·W) on the private-train images with
    Dec frozen. So 500 published epochs of each are `max_epochs=1000`. The data takes the same turns:
    `fit_role: [public, private_train]` and `reload_dataloaders_every_n_epochs: 1`.

    Published: batches of 32, Adam with its default settings, Enc, f and Dec from trained checkpoints, and in
    Crafter's comparison λ of 0.1, 0.5 and 0.8.

    Args:
        target: artifact folder of the trained target network.
        decoder: artifact folder of the decoder trained on that network's features.
        lambda_: λ in [0, 1].
        loss: form of the distance: `published`, for published λ, or `per_image`, 1/25 of it and less; see
            `facecrafter.losses.games`.
        learning_rate: of both Adams.
        seed, query: see Defence.
    """

    VERSION = 2

    def __init__(
        self,
        target: str,
        decoder: str,
        lambda_: float = 0.5,
        loss: DistanceForm = "published",
        learning_rate: float = 1e-3,
        seed: int = 0,
        query: int = 0,
    ) -> None:
        super().__init__(target, lambda_, learning_rate, seed, query)
        self.task = task_of(self, target)
        self.distance = DISTANCES[loss]
        # Enc is still the target's: a decoder that was trained for another would be a weak adversary.
        # Without what fills channels that were withheld: none is in this game, and what is usual in features
        # of Enc changes while it learns.
        self.decoder = load_reader(decoder, Decoder, encoder_hash(self.encoder)).decoder

    def players(self) -> dict[str, nn.Module]:
        return {"decoder": self.decoder, "encoder": nn.ModuleList([self.encoder, self.head])}

    def setup(self, stage: str) -> None:
        super().setup(stage)
        datamodule = fitted_data(self, stage)
        if datamodule is not None and tuple(datamodule.fit_role) != TURNS:
            raise ValueError(
                "Dec trains on public images and Enc on private ones, in turn: "
                f"set the data's fit_role to {list(TURNS)}, not {datamodule.fit_role}"
            )

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        # The data changes its role by the same parity, because it is reloaded in every epoch.
        if self.current_epoch % len(TURNS) == 0:
            self.move(lambda: self.decoder_objective(batch), "decoder")
        else:
            self.move(lambda: self.encoder_objective(batch), "encoder")

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """What Enc and f would descend on people who are held out, after either turn."""
        self.encoder_objective(batch)

    def decoder_objective(self, batch: dict[str, Tensor]) -> Tensor:
        """What the simulated adversary descends."""
        return self.distance(batch["image"], self.decoder(self.encoder(batch["image"])))

    def encoder_objective(self, batch: dict[str, Tensor]) -> Tensor:
        """What Enc and f descend."""
        features = self.encoder(batch["image"])
        task = task_loss(self.head(features), batch["attributes"], self.task)
        distance = self.distance(batch["image"], self.decoder(features))
        self.note(task=task, distance=distance)
        return (1 - self.lambda_) * task - self.lambda_ * distance
