"""What judges say of images: who is it, would it pass for a photograph of them, and how near is one."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from datamodules.datasets import FaceDataset
from experiments.evaluation.batches import in_batches
from experiments.evaluation.columns import Column, interval_columns
from experiments.evaluation.faces import Faces
from experiments.machine import device
from facecrafter.metrics import (
    clustered_share,
    feature_similarity,
    fnir_at_fpir,
    frechet_distance,
    identified,
    nearest_neighbours,
    person_scores,
    tar_at_far,
)
from lightning_modules.networks.embeddings import clean_embeddings
from lightning_modules.networks.oracle import IdentityOracle, mean_directions

COMPARED = "reconstructions (or of the features, where these are compared with photographs)"
GALLERY = 4
"""Photographs of each person, at most, that images are compared with: as many for all, and no long wait."""
OPEN_SET = (
    Column(
        "tar_at_far_1",
        "verified at 1%",
        f"Share of the {COMPARED} accepted as the right person, at a threshold that accepts 1% of the wrong "
        "ones; lower reveals less.",
        ".1%",
        interval=True,
    ),
    Column(
        "tar_at_far_01",
        "verified at 0.1%",
        f"Share of the {COMPARED} accepted as the right person, at a threshold that accepts 0.1% of the "
        "wrong ones; lower reveals less.",
        ".1%",
        interval=True,
    ),
    Column(
        "fnir_at_fpir_1",
        "not found at 1%",
        f"Share of the searches with one of the {COMPARED} that do not find the right person (FNIR), at a "
        "threshold at which 1% of the searches for people who are not there find somebody (FPIR); higher "
        "reveals less.",
        ".1%",
        interval=True,
    ),
)
"""What `open_set_columns` returns, as people read it."""
COLUMNS = (
    Column(
        "clean_acc",
        "clean images",
        "Share of the clean private-test images on which the judge names the right person: the most that "
        "Eval Acc can be expected to reach.",
        ".1%",
    ),
    Column(
        "eval_acc",
        "Eval Acc",
        "Share of the reconstructions on which the judge names the right person (evaluation accuracy); lower "
        "reveals less.",
        ".1%",
        interval=True,
    ),
    Column(
        "top5",
        "top 5",
        "Share of the reconstructions with the right person among the judge's first five; lower reveals "
        "less.",
        ".1%",
    ),
    Column(
        "fsim",
        "FSIM",
        "Cosine of the judge's features of the reconstruction and of the clean image, -1 to 1; lower reveals "
        "less.",
    ),
    Column(
        "nn_distance",
        "distance to the nearest photograph",
        "One minus the cosine to the nearest photograph in the gallery, 0 to 2; higher reveals less.",
    ),
    Column(
        "nn_same_person",
        "nearest photograph is theirs",
        "Share of the reconstructions whose nearest photograph in the gallery is of the right person; lower "
        "reveals less.",
        ".1%",
    ),
    *OPEN_SET,
    Column(
        "frechet",
        "Fréchet",
        "Fréchet distance between the judge's features of reconstructions and of clean images, 0 or more; "
        "higher is less like photographs of these people.",
    ),
)
"""What `Judge.columns` returns, as people read it."""


@dataclass
class Sight:
    """What an oracle makes of N images: a score for every person (N, P), and its features (N, E)."""

    scores: Tensor
    features: Tensor


@dataclass
class Verdict:
    """What follows for each of N images, (N,) each.

    Attributes:
        correct, top5: whether the right person is named first, or among five.
        fsim: cosine of the features with those of the clean image.
        nn_distance: one minus the cosine to the nearest photograph of the gallery.
        nn_same_person: whether that is of the right person.
    """

    correct: Tensor
    top5: Tensor
    fsim: Tensor
    nn_distance: Tensor
    nn_same_person: Tensor


class Judge:
    """An oracle that has enrolled the private people's private-train photographs.

    Args:
        name: what the study calls it.
        oracle: who judges, on `device()`.
        known: the private-train photographs.
        faces: the private-test images.
        seed: of the bootstrap.
        cache: folder that keeps what the oracle makes of both.

    Attributes:
        clean: what it makes of the clean private-test images.

    Raises:
        ValueError: what it makes of photographs is not finite, so its weights are broken.
    """

    def __init__(
        self, name: str, oracle: IdentityOracle, known: FaceDataset, faces: Faces, seed: int, cache: Path
    ) -> None:
        self.name, self.oracle, self.identities, self.seed = name, oracle, faces.identities, seed
        # Embedded once, and shared by all measurements: it takes longer than all else here.
        photographs = clean_embeddings(oracle, known.images, len(known), cache, device())
        self._check_finite(photographs)
        oracle.enrol(photographs.to(device()), known.identities.to(device()))
        self._directions = mean_directions(photographs, known.identities).to(device())
        # The same few for everybody: with more photographs one has more chances to be the nearest.
        few = first_of_each(known.identities, GALLERY)
        self.gallery, self.gallery_identities = photographs[few], known.identities[few]
        self.clean = self.see_embeddings(
            clean_embeddings(oracle, faces.images.__getitem__, len(faces.images), cache, device())
        )
        self._check_finite(self.clean.features)
        self._check_finite(self.clean.scores)

    def _check_finite(self, made: Tensor) -> None:
        """A judge that answers NaN names nobody, and every defence would look safe before it."""
        if broken := int((~made.isfinite()).any(dim=1).sum()):
            raise ValueError(
                f"oracle {self.name} answers {broken} of {len(made)} clean photographs with NaN or infinity, "
                "so its weights are broken: train it again, or name other weights"
            )

    def see(self, images: Tensor) -> Sight:
        """What it makes of images (N, 3, H, W) of the private-test people, in their order."""
        return self.see_embeddings(in_batches(self.oracle.embed, images))

    def see_embeddings(self, features: Tensor) -> Sight:
        """What it makes of embeddings (N, E) of the private-test people, in their order."""
        return Sight(in_batches(self.oracle.scores, features), features)

    def from_mean_face(self, mean: Tensor) -> Judge:
        """The same judge, to whom all photographs stand where they are as seen from the mean face (E,)."""
        seen = copy.copy(self)
        mean = mean.to(device())
        seen._directions = self._directions - mean
        clean, seen.gallery = (
            F.normalize(known) - mean.to(known) for known in (self.clean.features, self.gallery)
        )
        seen.clean = Sight(self.clean.scores, clean)
        return seen

    def see_directions(self, directions: Tensor) -> Sight:
        """What it makes of where embeddings (N, E) of the private-test people point, in their order.

        Whoever says in which direction a photograph would stand has no embedding for an oracle's last layer,
        which may go by length, too: the scores are products with where each person's photographs stand.
        """
        compared = in_batches(lambda some: F.normalize(some) @ self._directions.T, directions)
        return Sight(compared, directions)

    def verdict(self, sight: Sight) -> Verdict:
        """What `sight` says of each image; NaN where the oracle does not embed."""
        if not self.oracle.embeds:
            unknown = torch.full((len(sight.scores),), math.nan)
            named = (identified(sight.scores, self.identities, k) for k in (1, 5))
            return Verdict(*named, unknown, unknown, unknown)
        nearest = nearest_neighbours(sight.features, self.identities, self.gallery, self.gallery_identities)
        return Verdict(
            identified(sight.scores, self.identities),
            identified(sight.scores, self.identities, k=5),
            feature_similarity(sight.features, self.clean.features),
            nearest.distance,
            nearest.same_person,
        )

    def columns(self, sight: Sight, verdict: Verdict) -> dict[str, float]:
        """Its columns of results.csv, `COLUMNS`.

        The Fréchet distance is between features of length one, which cosines compare. An oracle that does not
        embed is taken by its own scores.
        """
        means = {name: found.double().mean().item() for name, found in vars(verdict).items()}
        # Beside every result: an attack cannot be judged better than the judge knows clean images.
        clean = identified(self.clean.scores, self.identities).double().mean().item()
        scores, frechet = sight.scores.double().cpu(), math.nan
        if self.oracle.embeds:
            scores = person_scores(sight.features, self.gallery, self.gallery_identities)
            frechet = frechet_distance(F.normalize(sight.features), F.normalize(self.clean.features))
        return {
            "clean_acc": clean,
            **interval_columns("eval_acc", clustered_share(verdict.correct, self.identities, self.seed)),
            **{name: means[name] for name in ("top5", "fsim", "nn_distance", "nn_same_person")},
            **open_set_columns(scores, self.identities, self.seed),
            "frechet": frechet,
        }


def open_set_columns(
    scores: Tensor, identities: Tensor, seed: int, first: Tensor | None = None
) -> dict[str, float]:
    """The columns of `OPEN_SET`, of N images' scores for every person (N, P); `first` is `fnir_at_fpir`'s."""
    return {
        **interval_columns("tar_at_far_1", tar_at_far(scores, identities, 0.01, seed)),
        **interval_columns("tar_at_far_01", tar_at_far(scores, identities, 0.001, seed)),
        **interval_columns("fnir_at_fpir_1", fnir_at_fpir(scores, identities, 0.01, seed, first)),
    }


def first_of_each(identities: Tensor, n: int) -> Tensor:
    """Positions, ascending, of the first n images of each identity."""
    ordered, positions = identities.sort(stable=True)
    rank = torch.arange(len(ordered)) - torch.searchsorted(ordered, ordered)
    return positions[rank < n].sort().values
