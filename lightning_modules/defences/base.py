"""What every defence shares: an encoder, a head, and `protect`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from facecrafter.randomness import seeded
from facecrafter.store import encoder_hash
from lightning_modules.artifacts import load_artifact
from lightning_modules.networks.target import Loss, TargetNetwork


class Defence(LightningModule):
    """Turns private images into the features that leave the device. One class is one defence.

    A subclass implements `protect`, and `training_step` too if it learns. It may replace `encoder` (what a
    white-box attacker differentiates, pruners included) and `head` (what utility is measured with). `task` is
    what the target network was trained to tell: attributes, classes or identities.

    Args:
        target: artifact folder of the trained target network.
        seed: of everything random in `protect`.
        query: how often the same images were protected before; each query draws other random numbers.
    """

    VERSION = 1  # raise it when the numbers change: results computed before are then out of date

    randomised: ClassVar[bool] = False
    """Whether `protect` draws anew for every query of an image, so that an attacker gains by asking again."""

    bits: int | None = None
    """What its features of a picture tell at most, however many of them there are and whoever has them: they
    are right at most 2^bits times as often as without (maximal leakage). None where nothing is proved."""

    encoder: nn.Module
    head: nn.Module

    def __init__(self, target: str, seed: int = 0, query: int = 0) -> None:
        super().__init__()
        network = load_artifact(target, TargetNetwork)
        self.encoder, self.head = network.encoder, network.head
        self.task: Loss = network.loss
        self.seed = seed
        self.query = query
        self.listeners: list[Callable[[dict[str, float]], None]] = []

    @classmethod
    def is_randomised(cls, arguments: Mapping[str, Any]) -> bool:
        """`randomised` of one that is made with `arguments`: some can draw the same every time."""
        return cls.randomised

    @abstractmethod
    def protect(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """images (N, 3, H, W) in [0, 1] -> protected features (N, C, h, w).

        All randomness comes from `rng`.
        """
        # A LightningModule is no ABC: a class without it can be made all the same.
        raise NotImplementedError(f"{type(self).__name__} does not implement protect(self, images, rng)")

    def predict_step(self, batch: dict, batch_idx: int) -> dict | None:
        """Protects one batch of the manifest; None for one that is already in the store."""
        if batch["image"] is None:
            return None
        # Seeded by the batch, not by the rank or by what ran before: any number of processes gives the same
        # features.
        features = self.protect(batch["image"], seeded(self.seed, self.query, batch["number"]))
        self._refuse_other_kinds(features, len(batch["image"]))
        return {"number": batch["number"], "row": batch["row"], "features": features}

    def _refuse_other_kinds(self, features: Any, n: int) -> None:
        """A defence may be anybody's."""
        name = f"{type(self).__name__}.protect"
        if not isinstance(features, Tensor):
            raise ValueError(f"{name} returned a {type(features).__name__}, not a Tensor")
        if features.ndim == 0 or len(features) != n:
            raise ValueError(f"{name} returned {tuple(features.shape)} for {n} images: a feature for each")
        if not torch.isfinite(features).all():
            raise ArithmeticError(f"{name} returned a value that is not finite")

    def announce(self, **metrics: float) -> None:
        """Tells whoever listens (progress bar, logs) how `protect` is getting on."""
        for listen in self.listeners:
            listen(metrics)

    def meta(self) -> dict[str, str | int]:
        """What the store of features records: the encoder, so that an attack on another one is refused, and
        `bits` where they are proved."""
        proved = {} if self.bits is None else {"bits": self.bits}
        return {"encoder": encoder_hash(self.encoder), **proved}


class Undefended(Defence):
    """No defence: the raw features Enc(x). The point that every other one is compared with."""

    def protect(self, images: Tensor, rng: torch.Generator) -> Tensor:
        features: Tensor = self.encoder(images)
        return features
