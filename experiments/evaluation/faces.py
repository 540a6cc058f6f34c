"""What a measurement compares: faces, what an attack made of them, and how alike the two are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from datamodules.faces import FaceDataModule
from experiments.machine import device
from facecrafter.metrics import (
    EpsilonPoint,
    Interval,
    Lpips,
    epsilon,
    epsilon_curve,
    epsilon_null,
    ms_ssim,
    psnr,
    ssim,
)
from facecrafter.store import TensorStore
from lightning_modules.attackers.prior import Prior

BATCH = 16
"""Images at a time: what a layer makes of more leaves the processor's cache, and all takes twice as long."""

Part = TypeVar("Part")
Images = Callable[[Tensor], Tensor]
"""Positions (n,) -> images (n, 3, H, W) in [0, 1]."""


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
        faces = data.protected_faces()
        order = faces.rows.argsort()
        return cls(faces.rows[order], faces.identities[order], faces.attributes[order], faces.images(order))


def open_attack(folder: Path, protected: TensorStore) -> TensorStore:
    """The reconstructions in a folder; see `check_same_features`."""
    attacked = TensorStore.open(folder)
    check_same_features(attacked, protected)
    return attacked


def check_same_features(attacked: TensorStore, protected: TensorStore) -> None:
    """Refuse reconstructions beside the utility of other features than they were made from.

    An attack on the average of several queries is one on each of them.

    Raises:
        ValueError: the attack read another store, or this one before it was written again.
    """
    read = [attacked.meta.get("features"), *attacked.meta.get("queries", [])]
    if protected.fingerprint() not in read:
        raise ValueError(
            f"{attacked.path} was not made from the features in {protected.path}; run the attack again"
        )


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
        """Of the restarts, and of the choice among them."""
        return [*map(str, range(len(self.images))), "best"]

    @property
    def best(self) -> Tensor:
        """(N, 3, H, W): of each face, the image that the attack would choose."""
        return self._choose(self.images)

    def with_best(self, parts: list[Part]) -> dict[str, Part]:
        """What was found for each restart, a dataclass of tensors (N, ...) each, and for the choice."""
        columns = {item.name: [getattr(part, item.name) for part in parts] for item in fields(parts[0])}
        chosen = {name: None if None in found else self._choose(found) for name, found in columns.items()}
        return dict(zip(self.names, [*parts, type(parts[0])(**chosen)], strict=True))

    def _choose(self, values: list[Tensor]) -> Tensor:
        return torch.stack(values)[self.choice, torch.arange(len(self.choice))]


def read_restarts(store: TensorStore, faces: Faces) -> Restarts:
    """The images and the choice of an attack, checked against the faces."""
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


def interval_columns(name: str, interval: Interval) -> dict[str, float]:
    """Of results.csv: the value, and the bounds as *_lo and *_hi."""
    return {name: interval.value, f"{name}_lo": interval.lo, f"{name}_hi": interval.hi}


@dataclass
class Likeness:
    """How alike images and their originals are, (N,) each; LPIPS where there are weights for it."""

    psnr: Tensor
    ssim: Tensor
    ms_ssim: Tensor
    lpips: Tensor | None

    @classmethod
    def of(cls, images: Tensor, faces: Faces, distance: Lpips | None) -> Likeness:
        alike = [in_batches(measure, images, faces.images) for measure in (psnr, ssim, ms_ssim)]
        return cls(*alike, in_batches(distance, images, faces.images) if distance else None)

    def found(self) -> dict[str, Tensor]:
        """What was measured of each image, by name."""
        return {name: values for name, values in vars(self).items() if values is not None}

    def columns(self) -> dict[str, float | None]:
        """Of results.csv: the means."""
        return dict.fromkeys(vars(self)) | {name: found.mean().item() for name, found in self.found().items()}


class AverageFaces:
    """What a prior makes of random latents, for ε: one set to compare with, and another for the null."""

    def __init__(self, prior: Prior, faces: Faces, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        latents = torch.randn(2 * len(faces.rows), prior.latent_dim, generator=self.generator)
        self.samples, self.others = in_batches(prior.network, latents).chunk(2)
        self.private = faces.images

    def distances(self, restarts: Restarts) -> dict[str, dict[str, float | None]]:
        """ε and its null of each restart's images and of the best."""
        null = epsilon_null(self.samples, self.others, self.private).scaled
        only = len(restarts.images) == 1  # then it is the best
        shown = restarts.images if only else [*restarts.images, restarts.best]
        found = [epsilon(images, self.samples, self.private).scaled for images in shown]
        columns = [{"epsilon": value, "epsilon_null": null} for value in (found * 2 if only else found)]
        return dict(zip(restarts.names, columns, strict=True))

    def curve(self, restarts: Restarts) -> list[EpsilonPoint]:
        """ε and its null of the best over the number of images."""
        return epsilon_curve(restarts.best, self.samples, self.others, self.private, self.generator)


@torch.no_grad()
def in_batches(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """``function`` of the tensors' slices of a few images, concatenated on the processor.

    The function is called with tensors on `device()`, where its networks must be too. A GPU computes in full
    float32: a structural similarity is a small difference of large numbers.
    """
    slices = zip(*(tensor.split(BATCH) for tensor in tensors), strict=True)
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        return torch.cat([function(*(tensor.to(device()) for tensor in part)).cpu() for part in slices])


def of_photographs(function: Callable[[Tensor], Tensor], images: Images, n: int) -> Tensor:
    """``function`` of n photographs that are read a few at a time, see `in_batches`."""
    return torch.cat([in_batches(function, images(positions)) for positions in torch.arange(n).split(BATCH)])
