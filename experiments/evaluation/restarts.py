"""What an attack reconstructed: the images of every restart, and which of them it would choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from experiments.evaluation.faces import Faces, check_rows
from facecrafter.store import TensorStore


@dataclass
class Restarts:
    """What an attack made of every face.

    Attributes:
        images: of each restart, (N, 3, H, W).
        choice: (N,) int64, the restart of the attack's own lowest loss.
        seconds: what the attack took per image, on average.
    """

    images: list[Tensor]
    choice: Tensor
    seconds: float

    @property
    def names(self) -> list[str]:
        """What the restarts are called, and after them the choice among them."""
        return [*map(str, range(len(self.images))), "best"]

    @property
    def best(self) -> Tensor:
        """(N, 3, H, W): of each face, the image that the attack would choose."""
        return self._choose(self.images)

    def with_best(self, found: Sequence[Mapping[str, Tensor]]) -> dict[str, Mapping[str, Tensor]]:
        """By name, what was found for each restart, tensors (N, ...), and what that is for the choice.

        Nothing is computed again for the choice: its images are among those that were seen.
        """
        chosen = {name: self._choose([each[name] for each in found]) for name in found[0]}
        return dict(zip(self.names, [*found, chosen], strict=True))

    def _choose(self, values: list[Tensor]) -> Tensor:
        # (R, N, ...) indexed by pairs (chosen restart, image): one of each image.
        return torch.stack(values)[self.choice, torch.arange(len(self.choice))]


def open_made_from(protected: TensorStore, folder: Path) -> TensorStore:
    """The store in `folder`, of reconstructions or averages, that were made from the features in `protected`.

    Raises:
        ValueError: it was made from others; see `check_same_features`.
    """
    made = TensorStore.open(folder)
    check_same_features(made, protected)
    return made


def check_same_features(made: TensorStore, protected: TensorStore) -> None:
    """Refuse what is measured beside the utility of other features than it was made from.

    An attack on the average of several queries is one on each of them.

    Raises:
        ValueError: another store was read, or this one before it was written again.
    """
    read = [made.meta.get("features"), *made.meta.get("queries", [])]
    if protected.fingerprint() not in read:
        raise ValueError(f"{made.path} was not made from the features in {protected.path}; make it again")


def read_restarts(store: TensorStore, faces: Faces) -> Restarts:
    """The images and the choice of an attack on `faces`.

    Raises:
        ValueError: the store is not of these faces, or holds images of another size.
    """
    content = store.load("row", "images", "losses", "seconds")
    check_rows(store, content["row"], faces)
    images = content["images"]
    if images.shape[2:] != faces.images.shape[1:]:
        raise ValueError(
            f"{store.path} holds images {tuple(images.shape[2:])}, but those of the data are "
            f"{tuple(faces.images.shape[1:])}"
        )
    choice, seconds = content["losses"].argmin(dim=1), content["seconds"].mean().item()
    return Restarts(list(images.unbind(dim=1)), choice, seconds)
