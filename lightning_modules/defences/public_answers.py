"""What is kept of f's answers is learnt from those to public people."""

from __future__ import annotations

from typing import TypeVar

import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from facecrafter.nets.through_head import LOGITS
from facecrafter.store import encoder_hash
from lightning_modules.artifacts import FeatureReader, load_artifact, load_reader
from lightning_modules.checks import require_public_people
from lightning_modules.defences.base import Defence
from lightning_modules.training import ClosedForm, SeededBatches


class PublicAnswers(ClosedForm, SeededBatches, FeatureReader):
    """Learns in one epoch from f's answers to raw features of public people. A subclass has a `network`.

    Args:
        encoder: artifact folder of the target network.
        image_size: side of the images.
        pictures: at most so many are learnt from, drawn by the run's seed.

    Attributes:
        answers: how many numbers f answers with.
        head_hash: what names f.

    Raises:
        ValueError: there are to be fewer than two pictures.
    """

    def __init__(self, encoder: str, image_size: int, pictures: int = 8192) -> None:
        if pictures < 2:
            raise ValueError(f"pictures={pictures} must be at least 2")
        super().__init__(encoder, {LOGITS: 1.0})
        self.answers = torch.Size(self.shape_read(image_size)).numel()
        self.head_hash = encoder_hash(load_artifact(encoder, LightningModule).head)
        self.pictures = pictures

    def setup(self, stage: str) -> None:
        """Refuses private people."""
        require_public_people(self, stage, "what is kept of answers")

    def drawn_answers(self) -> tuple[Tensor, Tensor]:
        """f's answers (N, A) to at most `pictures` of the trainer's data, and their attributes (N, Y)."""
        answers, attributes = [], []
        for batch in self.drawn(self.pictures):
            answers.append(self.read(self.raw_features_of(batch)).flatten(1))
            attributes.append(batch["attributes"])
        return torch.cat(answers), torch.cat(attributes)


P = TypeVar("P", bound=PublicAnswers)


def load_public_answers(folder: str, expected: type[P], defence: Defence) -> P:
    """What the artifact `folder` keeps of the answers of the defence's own encoder and head.

    Raises:
        ValueError: it was learnt from those of another encoder or head.
    """
    learnt = load_reader(folder, expected, encoder_hash(defence.encoder))
    if learnt.head_hash != encoder_hash(defence.head):
        raise ValueError(
            f"the {expected.__name__} in {folder} was learnt from the answers of another head than the "
            "target's; train it with encoder set to the target's folder"
        )
    return learnt
