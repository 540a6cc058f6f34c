"""The faces that a measurement compares with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from datamodules.datasets import FaceDataset
from datamodules.faces import FaceDataModule
from facecrafter.store import TensorStore


@dataclass
class Faces:
    """The private-test images in ascending order of row.

    Attributes:
        rows: (N,) int64.
        identities: (N,) int64, within the private ones.
        attributes: (N, A) in {0, 1}.
        images: (N, 3, H, W) in [0, 1].
    """

    rows: Tensor
    identities: Tensor
    attributes: Tensor
    images: Tensor

    @classmethod
    def of(cls, data: FaceDataModule) -> Faces:
        """The faces of ``data`` that were protected."""
        faces = data.protected_faces()
        order = faces.rows.argsort()
        return cls(faces.rows[order], faces.identities[order], faces.attributes[order], faces.images(order))


def check_rows(store: TensorStore, rows: Tensor, faces: Faces) -> None:
    """Refuse a store that is not of exactly the private-test images.

    Raises:
        ValueError: an image is missing or is none of the private-test images.
    """
    found, expected = set(rows.tolist()), set(faces.rows.tolist())
    if found != expected:
        raise ValueError(
            f"{store.path} must hold each of the {len(expected)} private-test images once: "
            f"{len(expected - found)} are missing (rows {sorted(expected - found)[:5]}) and "
            f"{len(found - expected)} are others (rows {sorted(found - expected)[:5]}); "
            "use the data that it was made from"
        )


def load_features(store: TensorStore, faces: Faces) -> Tensor:
    """The features (N, C, h, w) in `store`, of `faces` in their order.

    Raises:
        ValueError: it is not of exactly these pictures; see `check_rows`.
    """
    content = store.load("row", "features")
    check_rows(store, content["row"], faces)
    return content["features"].float()


def load_some(store: TensorStore, pictures: FaceDataset) -> tuple[Tensor, Tensor]:
    """The features (N, C, h, w) in `store`, of some of the `pictures`, and whose they are (N,).

    Raises:
        ValueError: it holds other rows.
    """
    content = store.load("row", "features")
    if unknown := content["row"][~torch.isin(content["row"], pictures.rows)].tolist():
        raise ValueError(f"{store.path} holds rows {unknown[:5]}, which are none of the pictures asked for")
    whose = pictures.identities[torch.searchsorted(pictures.rows, content["row"])]
    return content["features"].float(), whose
