"""The base of data sets that are files in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datamodules.faces import FaceDataModule
from facecrafter.data.cache import Pictures
from facecrafter.data.decode import decode
from facecrafter.data.files import inside
from facecrafter.data.splits import Splits


class PhotoDataModule(FaceDataModule):
    """Faces below the folder ``root``; the centred square of ``crop`` pixels (None: the largest) becomes the
    image."""

    def __init__(self, root: str, image_size: int, crop: int | None, **kwargs: Any) -> None:
        super().__init__(image_size=image_size, **kwargs)
        if image_size < 1 or (crop is not None and crop < 1):
            raise ValueError(f"image_size and crop must be at least 1 pixel, not {image_size} and {crop}")
        self.root, self.crop = Path(root).expanduser(), crop

    def source(self, splits: Splits) -> list[Any]:
        return [self.crop, [self._stat(name).st_size for name in splits.image]]

    def cache_key(self, splits: Splits) -> list[Any]:
        # A file replaced by one of the same length has another time; a copied folder may, and is decoded once
        # more.
        return [self.crop, [(stat.st_size, stat.st_mtime_ns) for stat in map(self._stat, splits.image)]]

    def pictures(self, splits: Splits) -> Pictures:
        return (decode(inside(self.root, name), self.image_size, self.crop) for name in splits.image)

    def _stat(self, name: str) -> Any:
        return (self.root / name).stat()
