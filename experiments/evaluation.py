"""What a measurement compares: faces, what an attack made of them, and what judges say of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from datamodules.datasets import FaceDataset
from datamodules.faces import FaceDataModule
from facecrafter.attacks import Reconstruction
from facecrafter.metrics import (
    Lpips,
    clustered_mean_auc,
    epsilon,
    epsilon_null,
    feature_similarity,
    identified,
    ssim,
    wilson,
)
from facecrafter.store import TensorStore
from lightning_modules.defence import Defence
from lightning_modules.oracle import IdentityOracle
from lightning_modules.prior import Prior

BATCH = 64


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
        faces = data.faces("private_test")
        order = faces.rows.argsort()
        return cls(faces.rows[order], faces.identities[order], faces.attributes[order], faces.images(order))


def check_same_features(attacked: TensorStore, protected: TensorStore) -> None:
    """Refuse reconstructions beside the utility of other features than they were made from.

    Raises:
        ValueError: the attack read another store, or this one before it was written again.
    """
    if attacked.meta.get("features") != protected.fingerprint():
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


def read_restarts(store: TensorStore, faces: Faces) -> dict[str, Tensor]:
    """The images (N, 3, H, W) of each restart by its number, and of `best`."""
    content = store.load("row", "images", "losses")
    check_rows(store, content["row"], faces)
    images = content["images"]
    if images.shape[2:] != faces.images.shape[1:]:
        raise ValueError(
            f"{store.path} holds images {tuple(images.shape[2:])}, but those of the data are "
            f"{tuple(faces.images.shape[1:])}"
        )
    restarts = {str(number): image for number, image in enumerate(images.unbind(dim=1))}
    return restarts | {"best": Reconstruction(images, content["losses"]).best()}


def utility(defence: Defence, store: TensorStore, faces: Faces, seed: int) -> dict[str, float]:
    """Mean AUC of the head on the features, with an interval over identities."""
    content = store.load("row", "features")
    check_rows(store, content["row"], faces)
    scores = in_batches(defence.head, content["features"].float())
    interval = clustered_mean_auc(scores, faces.attributes, faces.identities, seed)
    return {"auc": interval.value, "auc_lo": interval.lo, "auc_hi": interval.hi}


@dataclass
class Likeness:
    """How alike images and their originals are: SSIM (N,), and LPIPS (N,) where there are weights for it."""

    ssim: Tensor
    lpips: Tensor | None

    @classmethod
    def of(cls, images: Tensor, faces: Faces, distance: Lpips | None) -> Likeness:
        lpips = in_batches(distance, images, faces.images) if distance else None
        return cls(in_batches(ssim, images, faces.images), lpips)

    def columns(self) -> dict[str, float | None]:
        return {
            "ssim": self.ssim.mean().item(),
            "lpips": None if self.lpips is None else self.lpips.mean().item(),
        }


def perceptual_distances(
    shown: list[Tensor], faces: Faces, prior: Prior | None, seed: int
) -> list[dict[str, float | None]]:
    """ε of each restart's images, and its null from prior samples that no restart is compared with."""
    if prior is None:
        return [{"epsilon": None, "epsilon_null": None}] * len(shown)
    latents = torch.randn(
        2 * len(faces.rows), prior.latent_dim, generator=torch.Generator().manual_seed(seed)
    )
    samples, others = in_batches(prior.network, latents).chunk(2)
    null = epsilon_null(samples, others, faces.images).scaled
    return [
        {"epsilon": epsilon(images, samples, faces.images).scaled, "epsilon_null": null} for images in shown
    ]


@dataclass
class Verdict:
    """What an oracle says of N images: whether it names the person first, or among five, and FSIM."""

    correct: Tensor
    top5: Tensor
    fsim: Tensor


class Judge:
    """An oracle that knows the private people, and what it says of their clean private-test images."""

    def __init__(self, oracle: IdentityOracle, gallery: FaceDataset, faces: Faces) -> None:
        for positions in torch.arange(len(gallery)).split(BATCH):
            oracle.enrol(gallery.images(positions), gallery.identities[positions])
        self.oracle = oracle
        self.identities = faces.identities
        self.clean = in_batches(oracle.embed, faces.images)
        self.clean_correct = identified(in_batches(oracle.scores, faces.images), faces.identities)

    def __call__(self, images: Tensor) -> Verdict:
        scores = in_batches(self.oracle.scores, images)
        return Verdict(
            identified(scores, self.identities),
            identified(scores, self.identities, k=5),
            feature_similarity(in_batches(self.oracle.embed, images), self.clean),
        )

    def columns(self, verdict: Verdict) -> dict[str, float]:
        accuracy = wilson(int(verdict.correct.sum()), len(verdict.correct))
        return {
            "clean_acc": self.clean_correct.double().mean().item(),
            "eval_acc": accuracy.value,
            "eval_acc_lo": accuracy.lo,
            "eval_acc_hi": accuracy.hi,
            "top5": verdict.top5.double().mean().item(),
            "fsim": verdict.fsim.mean().item(),
        }


@torch.no_grad()
def in_batches(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """``function`` of the tensors' slices of a few images, concatenated."""
    slices = zip(*(tensor.split(BATCH) for tensor in tensors), strict=True)
    return torch.cat([function(*part) for part in slices])
