"""The base of data sets that are files in a folder."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from datamodules.faces import FaceDataModule
from facecrafter.data.cache import Pictures
from facecrafter.data.decode import VERSION, Pixels, decode
from facecrafter.data.files import relative
from facecrafter.data.readers import Missing
from facecrafter.data.splits import Splits


class PhotoDataModule(FaceDataModule):
    """Faces below the folder ``root``; the centred square of ``crop`` pixels (None: the largest) becomes the
    image.

    Args:
        root: the folder.
        image_size: side of the images.
        crop: side of the square.
        missing: whether label rows without a picture are an error, or are left out and counted in the log.
        kwargs: see FaceDataModule.
    """

    def __init__(
        self, root: str, image_size: int, crop: int | None, missing: Missing = "error", **kwargs: Any
    ) -> None:
        super().__init__(image_size=image_size, **kwargs)
        if image_size < 1 or (crop is not None and crop < 1):
            raise ValueError(f"image_size and crop must be at least 1 pixel, not {image_size} and {crop}")
        self.root, self.crop, self.missing = Path(root).expanduser(), crop, missing

    def source(self, splits: Splits) -> list[Any]:
        return [VERSION, self.crop, [self._stat(name).st_size for name in splits.image]]

    def cache_key(self, splits: Splits) -> list[Any]:
        # A file replaced by one of the same length has another time: of its content, or, where another file
        # was moved to its name, of the move. A copied folder has other times, too, and is decoded once more.
        stats = map(self._stat, splits.image)
        return [VERSION, self.crop, [(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for stat in stats]]

    def picture_keys(self, splits: Splits) -> list[str]:
        return [self._picture_key(name) for name in splits.image]

    def _picture_key(self, name: str) -> str:
        path, stat = str((self.root / name).absolute()), self._stat(name)
        times = [stat.st_mtime_ns, stat.st_ctime_ns]
        told = json.dumps([VERSION, self.crop, path, stat.st_dev, stat.st_ino, stat.st_size, times])
        return hashlib.blake2b(told.encode(errors="surrogateescape"), digest_size=16).hexdigest()

    def pictures(self, splits: Splits) -> Pictures:
        return map(self._decode, splits.image)  # a map goes on after an error, a generator does not

    def _decode(self, name: str) -> tuple[Pixels, str]:
        return decode(self.root / relative(name, self.root), self.image_size, self.crop)

    def _stat(self, name: str) -> os.stat_result:
        return os.stat(f"{self.root}/{name}")  # noqa: PTH116  # for hundreds of thousands, every time
