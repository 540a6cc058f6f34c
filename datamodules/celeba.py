"""CelebA, aligned and cropped."""

from __future__ import annotations

from typing import Any, Literal

from datamodules.photos import PhotoDataModule
from facecrafter.data.readers import read_celeba
from facecrafter.data.table import FaceTable


class CelebA(PhotoDataModule):
    """CelebA in its official layout: ``img_align_celeba/``, ``identity_CelebA.txt``,
    ``list_attr_celeba.txt``; 40 attributes.

    CelebA holds pictures whose bytes come twice, so ``duplicates`` defaults to 'drop'.

    Args:
        root: the folder of these three.
        image_size: side of the images.
        crop: side of the centred square cut from the 178x218 pixels.
        private_identities: as in the paper, 1,000.
        min_images: pictures a private person must have; 5 give four to train with and one to test.
        duplicates: see FaceDataModule.
        kwargs: see PhotoDataModule and FaceDataModule.
    """

    def __init__(
        self,
        root: str,
        image_size: int = 64,
        crop: int | None = 128,
        private_identities: int | None = 1000,
        min_images: int = 5,
        duplicates: Literal["error", "drop"] = "drop",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            root, image_size, crop,
            private_identities=private_identities, min_images=min_images, duplicates=duplicates, **kwargs,
        )  # fmt: skip

    def read_table(self) -> FaceTable:
        return read_celeba(self.root, self.attributes, self.missing)
