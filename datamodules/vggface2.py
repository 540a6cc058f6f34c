"""VGGFace2 with the attributes of MAAD-Face."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datamodules.photos import PhotoDataModule
from facecrafter.data.readers import read_vggface2
from facecrafter.data.table import FaceTable

HAIR_COLOURS = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair", "Bald")


class VGGFace2(PhotoDataModule):
    """VGGFace2 in its official layout, ``train/n000002/0001_01.jpg``, ``test/...`` and ``identity_meta.csv``.

    Args:
        root: the folder of these.
        labels: MAAD-Face's CSV file.
        image_size: side of the images.
        crop: side of the centred square; the pictures differ in size, so None takes the largest.
        private_identities: how many people are private.
        min_images: pictures a private person must have.
        train_test_ratio: as in the paper, 2:1.
        kwargs: see PhotoDataModule and FaceDataModule; ``attributes`` defaults to five kinds of hair. Set
            ``public_limit``: there are 3.3 million pictures.
    """

    def __init__(
        self,
        root: str,
        labels: str,
        image_size: int = 112,
        crop: int | None = None,
        private_identities: int | None = 100,
        min_images: int = 3,
        train_test_ratio: float = 2.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            root, image_size, crop,
            private_identities=private_identities, min_images=min_images, train_test_ratio=train_test_ratio,
            **kwargs,
        )  # fmt: skip
        self.labels = Path(labels).expanduser()

    def read_table(self) -> FaceTable:
        return read_vggface2(
            self.root,
            self.labels,
            HAIR_COLOURS if self.attributes is None else self.attributes,
            self.missing,
        )
