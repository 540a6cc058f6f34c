"""Who is on an image: the judges of every reconstruction."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F

from facecrafter.nets.augmentation import blur_and_noise, change_colours, flip_and_shift
from facecrafter.nets.identity import IdentityNet, load_mobilefacenet
from lightning_modules.checks import fitted_data, refuse_other_people
from lightning_modules.training import one_cycle


class IdentityOracle(LightningModule):
    """Scores images for each private identity: an embedding of the image, compared with whom it knows.

    Whoever judges with it enrols the private-train images first.

    Attributes:
        embeds: whether what `embed` gives may be compared; else it is for `scores` alone.
    """

    VERSION = 1
    embeds = True

    @abstractmethod
    def embed(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) in [0, 1] -> embeddings (N, E), compared by their cosine."""

    @abstractmethod
    def enrol(self, embeddings: Tensor, identities: Tensor) -> None:
        """Learns who looks how from the embeddings (M, E) of photographs of ``identities`` (M,) int64."""

    @abstractmethod
    def scores(self, embeddings: Tensor) -> Tensor:
        """Embeddings (N, E) -> scores (N, n_identities); the largest is the answer."""


class IdentityClassifier(IdentityOracle):
    """A classifier trained on the private-train images (the paper's oracle for CelebA).

    There are few images of each person, so they are varied strongly: mirrored, moved, scaled, with other
    colours, and blurred and noisy, as reconstructions are.

    Args:
        n_identities: private identities of the data.
        trunk: resnet18, resnet50, resnet152 (the paper's), or resnet18_quarter, of a quarter of the channels.
        learning_rate: peak of AdamW's one-cycle schedule.
        weight_decay: of AdamW.
        label_smoothing: of the cross-entropy.
    """

    def __init__(
        self,
        n_identities: int,
        trunk: str = "resnet18",
        learning_rate: float = 2e-3,
        weight_decay: float = 0.05,
        label_smoothing: float = 0.1,
    ) -> None:
        super().__init__()
        self.network = IdentityNet(n_identities, trunk).to(memory_format=torch.channels_last)
        self.n_identities = n_identities
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing

    def setup(self, stage: str) -> None:
        if data := fitted_data(self, stage):
            self.check_people(data)

    def check_people(self, data: Any) -> None:
        """Refuses data of other people than this classifier is made for."""
        refuse_other_people(data, "private_train", self.n_identities, "this oracle learns private people")

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        images = flip_and_shift(batch["image"], shift=0.08, zoom=0.1)
        # After the geometry: noise that is moved and interpolated is no longer noise.
        images = blur_and_noise(change_colours(images, 0.2))
        logits = self.scores(self.embed(images))
        loss = F.cross_entropy(logits, batch["identity"], label_smoothing=self.label_smoothing)
        self.log("train/loss", loss, prog_bar=True)
        self.log("train/accuracy", (logits.argmax(1) == batch["identity"]).float().mean(), prog_bar=True)
        return loss

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.AdamW(
            self.parameters(), self.learning_rate, weight_decay=self.weight_decay, fused=True
        )
        return one_cycle(self, optimizer)

    def embed(self, images: Tensor) -> Tensor:
        return self.network.embed(images.contiguous(memory_format=torch.channels_last))

    def enrol(self, embeddings: Tensor, identities: Tensor) -> None:
        """Nothing: training told it who looks how."""

    def scores(self, embeddings: Tensor) -> Tensor:
        return self.network.classifier(embeddings)


class Recogniser(IdentityOracle):
    """A frozen face recognition network; a score is the cosine to the mean embedding of an identity.

    Args:
        network: images (N, 3, H, W) in [0, 1] -> embeddings (N, E) of length one.
        face_box: the part of every image that the network sees: left, top, right and bottom edges as parts
            of the image's sides. Such networks were trained on tight crops with the eyes above the middle,
            and a looser one costs much.
    """

    def __init__(self, network: nn.Module, face_box: tuple[float, float, float, float]) -> None:
        super().__init__()
        left, top, right, bottom = face_box
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise ValueError(f"face_box={face_box} must be left < right and top < bottom, all within [0, 1]")
        self.network = network
        self.face_box = face_box
        self._directions: Tensor | None = None

    def embed(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        left, top, right, bottom = self.face_box
        rows = slice(round(top * height), round(bottom * height))
        columns = slice(round(left * width), round(right * width))
        return self.network(images[..., rows, columns])

    def enrol(self, embeddings: Tensor, identities: Tensor) -> None:
        """See `IdentityOracle`.

        Raises:
            ValueError: an identity has no photograph.
        """
        self._directions = mean_directions(embeddings, identities)

    def scores(self, embeddings: Tensor) -> Tensor:
        """See `IdentityOracle`.

        Raises:
            RuntimeError: nobody is enrolled.
        """
        if self._directions is None:
            raise RuntimeError("nobody is enrolled; call enrol with private-train images first")
        return embeddings @ self._directions.T


class EmbeddingOracle(Recogniser):
    """A frozen, pretrained MobileFaceNet.

    Args:
        weights: file of MobileFaceNet's state dict.
        face_box: see Recogniser.
    """

    def __init__(
        self, weights: str, face_box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    ) -> None:
        super().__init__(load_mobilefacenet(weights), face_box)


def mean_directions(embeddings: Tensor, identities: Tensor) -> Tensor:
    """Where the embeddings (M, E) of each person of `identities` point on average (P, E), of length one.

    Raises:
        ValueError: an identity has no photograph.
    """
    directions, people = F.normalize(embeddings), require_everyone(identities)
    sums = directions.new_zeros(people, directions.shape[1]).index_add_(0, identities, directions)
    return F.normalize(sums)


def require_everyone(identities: Tensor) -> int:
    """The number of people P of whom `identities` (M,) has photographs: all of 0 to P - 1.

    Raises:
        ValueError: an identity has no photograph.
    """
    people = int(identities.max()) + 1
    if missing := sorted(set(range(people)) - set(identities.tolist())):
        raise ValueError(
            f"no image of identity {missing[0]} is enrolled; its images must be in private-train"
        )
    return people
