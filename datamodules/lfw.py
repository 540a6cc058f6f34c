"""Labeled Faces in the Wild, deep-funneled."""

from __future__ import annotations

from typing import Any

from datamodules.photos import PhotoDataModule
from facecrafter.data.readers import read_lfw
from facecrafter.data.table import FaceTable

ATTRIBUTES = (
    "Male", "Asian", "White", "Middle Aged", "Black Hair", "Eyeglasses", "Mustache", "Smiling", "Chubby",
    "Curly Hair",
)  # fmt: skip


class LFW(PhotoDataModule):
    """LFW in its official layout, ``lfw-deepfunneled/NAME/NAME_0001.jpg``, and ``lfw_attributes.txt`` beside
    it.

    Args:
        root: the folder of these two.
        image_size: side of the images.
        crop: side of the centred square cut from the 250x250 pixels; 150 keep head and hair.
        private_identities: None means all people of ``min_images`` labelled pictures: 60 have 20.
        min_images: pictures a private person must have.
        train_test_ratio: as in the paper, 2:1.
        kwargs: see PhotoDataModule and FaceDataModule; ``attributes`` defaults to the paper's ten.
    """

    def __init__(
        self,
        root: str,
        image_size: int = 128,
        crop: int | None = 150,
        private_identities: int | None = None,
        min_images: int = 20,
        train_test_ratio: float = 2.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            root, image_size, crop,
            private_identities=private_identities, min_images=min_images, train_test_ratio=train_test_ratio,
            **kwargs,
        )  # fmt: skip

    def read_table(self) -> FaceTable:
        return read_lfw(self.root, ATTRIBUTES if self.attributes is None else self.attributes, self.missing)
