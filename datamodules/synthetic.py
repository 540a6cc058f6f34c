"""The embedded default: people who do not exist."""

from __future__ import annotations

from typing import Any

from datamodules.faces import FaceDataModule
from facecrafter.data.cache import Pictures
from facecrafter.data.portrait import VERSION
from facecrafter.data.splits import Splits
from facecrafter.data.synthetic import check_size, synthetic_pictures, synthetic_table
from facecrafter.data.table import FaceTable


class SyntheticFaces(FaceDataModule):
    """Painted faces with 17 binary attributes, 14 of the person and 3 of the moment; nothing to download.

    Args:
        n_identities: people, of whom ``private_identities`` are private.
        images_per_identity: pictures of each.
        image_size: 32 to 128 pixels.
        private_identities: how many people are private.
        kwargs: see FaceDataModule; ``seed`` also chooses the people.
    """

    def __init__(
        self,
        n_identities: int = 500,
        images_per_identity: int = 20,
        image_size: int = 64,
        private_identities: int | None = 100,
        **kwargs: Any,
    ) -> None:
        super().__init__(image_size=image_size, private_identities=private_identities, **kwargs)
        check_size(image_size)
        self.n_identities, self.images_per_identity = n_identities, images_per_identity

    def read_table(self) -> FaceTable:
        return synthetic_table(self.seed, self.n_identities, self.images_per_identity, self.attributes)

    def source(self, splits: Splits) -> list[Any]:
        return [VERSION, self.seed]

    def pictures(self, splits: Splits) -> Pictures:
        return synthetic_pictures(self.seed, list(splits.image), self.image_size)
