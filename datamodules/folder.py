"""Any folder of faces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datamodules.photos import PhotoDataModule
from facecrafter.data.readers import read_folder
from facecrafter.data.table import FaceTable


class FolderFaces(PhotoDataModule):
    """Pictures below ``root``, listed in a CSV with a column of paths, one of identities, and binary
    attributes.

    Args:
        root: the folder that the paths start from; they may not lead out of it.
        labels: the CSV file.
        path_column: header of the paths.
        identity_column: header of the identities.
        image_size: side of the images.
        crop: side of the centred square; None takes the largest.
        kwargs: see PhotoDataModule and FaceDataModule; ``attributes`` defaults to all other columns (1/0,
            1/-1, true/false or yes/no).
    """

    def __init__(
        self,
        root: str,
        labels: str,
        path_column: str = "path",
        identity_column: str = "identity",
        image_size: int = 64,
        crop: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, image_size, crop, **kwargs)
        self.labels = Path(labels).expanduser()
        self.path_column, self.identity_column = path_column, identity_column

    def read_table(self) -> FaceTable:
        return read_folder(
            self.root, self.labels, self.path_column, self.identity_column, self.attributes, self.missing
        )
