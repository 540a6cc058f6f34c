"""TIPRDC: an extractor that forgets who is on an image and remembers the rest (a rival)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facecrafter.losses.mutual_information import jensen_shannon_information
from facecrafter.nets.statistics import StatisticsNetwork
from facecrafter.nets.tail import resnet18_tail
from facecrafter.nets.target import feature_shape
from lightning_modules.checks import fitted_data, refuse_other_people
from lightning_modules.defences.game import GameDefence


class Tiprdc(GameDefence):
    """TIPRDC (Li et al., "TIPRDC: Task-Independent Privacy-Respecting Data Crowdsourcing", KDD 2020), for the
    development scenario; the private attribute u is the identity. Trained on the private-train images.

    At first extractor and classifier learn u together. Then on every batch, in this order: the extractor
    Enc descends −λ·CE − (1 − λ)·I, where CE is the classifier's cross-entropy and I the Jensen-Shannon
    estimate of what the feature says about the image; the classifier descends CE; the estimator ascends I.

    Published: Adam with 1e-4 and weight decay 1e-4, batches of 128, 20 epochs of pre-training, and in
    Crafter's comparison λ of 0.1, 0.5 and 0.8. The head stays that of the target network: in this scenario f
    is trained afterwards, on what `protect` returns.

    Args:
        target: artifact folder of the target network whose encoder the extractor starts from.
        n_identities: private identities of the data.
        image_size: side of the images.
        lambda_: λ in [0, 1].
        pretraining: epochs in which extractor and classifier learn u.
        learning_rate, weight_decay: of the three Adams.
        seed, query: see Defence.
    """

    VERSION = 1

    def __init__(
        self,
        target: str,
        n_identities: int,
        image_size: int,
        lambda_: float = 0.5,
        pretraining: int = 20,
        learning_rate: float = 1e-4,
        weight_decay: float = 1e-4,
        seed: int = 0,
        query: int = 0,
    ) -> None:
        super().__init__(target, lambda_, learning_rate, seed, query)
        channels = feature_shape(self.encoder, image_size)[0]
        self.classifier = resnet18_tail(channels, n_identities)
        self.estimator = StatisticsNetwork(channels, n_identities)
        # The encoder from the target is laid out so already; the new networks follow it.
        self.to(memory_format=torch.channels_last)
        self.n_identities = n_identities
        self.pretraining = pretraining
        self.weight_decay = weight_decay

    def players(self) -> dict[str, nn.Module]:
        return {"extractor": self.encoder, "classifier": self.classifier, "estimator": self.estimator}

    def optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, self.learning_rate, weight_decay=self.weight_decay)

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if data := fitted_data(self, stage):
            reason = "TIPRDC learns to hide private people"
            refuse_other_people(data, "private_train", self.n_identities, reason)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        if self.current_epoch < self.pretraining:
            # No game yet: both descend CE, so that the extractor meets a classifier that can tell people.
            self.move(lambda: self.classifier_objective(batch), "classifier", "extractor")
            return
        self.move(lambda: self.extractor_objective(batch), "extractor")
        self.move(lambda: self.classifier_objective(batch), "classifier")
        self.move(lambda: self.estimator_objective(batch), "estimator")

    def extractor_objective(self, batch: dict[str, Tensor]) -> Tensor:
        """What Enc descends once it is pre-trained."""
        features = self.encoder(batch["image"])
        cross_entropy, information = self._cross_entropy(features, batch), self._information(features, batch)
        self.note(cross_entropy=cross_entropy)
        # Minus CE: the extractor wants the classifier to fail. Minus I: it keeps what tells the image.
        return -self.lambda_ * cross_entropy - (1 - self.lambda_) * information

    def classifier_objective(self, batch: dict[str, Tensor]) -> Tensor:
        """What the simulated adversary descends."""
        return self._cross_entropy(self.encoder(batch["image"]), batch)

    def estimator_objective(self, batch: dict[str, Tensor]) -> Tensor:
        """What the estimator of the mutual information descends."""
        return -self._information(self.encoder(batch["image"]), batch)

    def _cross_entropy(self, features: Tensor, batch: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(self.classifier(features), batch["identity"])

    def _information(self, features: Tensor, batch: dict[str, Tensor]) -> Tensor:
        return jensen_shannon_information(self.estimator, batch["image"], features, batch["identity"])
