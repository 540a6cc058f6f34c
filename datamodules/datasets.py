"""Views of cached pictures: by image for training, by manifest batch for protecting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from facecrafter.data.cache import ImageCache


def uncollated(batch: Any) -> Any:
    """The collate function of datasets whose items are whole batches."""
    return batch


class FaceDataset(Dataset[dict[str, Tensor]]):
    """The images of one role; position i of ``rows``, ``identities`` (N,) and ``attributes`` (N, A) is its
    i-th image."""

    def __init__(
        self,
        cache: ImageCache,
        cached_at: np.ndarray,
        rows: np.ndarray,
        identities: np.ndarray,
        attributes: np.ndarray,
    ) -> None:
        self.rows, self.identities = torch.from_numpy(rows), torch.from_numpy(identities)
        self.attributes = torch.from_numpy(attributes).float()
        self._cache, self._cached_at = cache, cached_at

    def __len__(self) -> int:
        return len(self.rows)

    def images(self, positions: Sequence[int] | Tensor) -> Tensor:
        """Images (n, 3, S, S) in [0, 1]."""
        return torch.from_numpy(self._cache.pixels(self._cached_at[np.asarray(positions)])).float() / 255

    def __getitems__(self, positions: Sequence[int]) -> dict[str, Tensor]:
        """A whole training batch: one read instead of n."""
        return {
            "image": self.images(positions),
            "attributes": self.attributes[positions],
            "identity": self.identities[positions],
            "row": self.rows[positions],
        }


class ManifestDataset(Dataset[dict[str, Any]]):
    """Manifest batches of ``faces``. Nothing is loaded for the numbers in ``skip``: they are stored
    already."""

    def __init__(self, faces: FaceDataset, batches: list[Tensor]) -> None:
        self.faces, self.batches = faces, batches
        self.skip: set[int] = set()

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> dict[str, Any]:
        rows = self.batches[number]
        positions = torch.searchsorted(self.faces.rows, rows)  # the rows of a role ascend
        return {
            "number": number,
            "row": rows,
            "image": None if number in self.skip else self.faces.images(positions),
        }
