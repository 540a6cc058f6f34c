"""Feature exposure: who is in a picture, read from its feature without any image (paper, section VI-F)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from experiments.evaluation.batches import in_batches
from experiments.evaluation.columns import interval_columns
from experiments.evaluation.faces import Faces, load_features
from experiments.evaluation.rows import lines_per_image
from facecrafter.metrics import clustered_share, identified
from facecrafter.store import TensorStore
from lightning_modules.attackers.identifier import FeatureIdentifier

EXPOSURE = "exposure"
"""What an attack is called, in place of how it adapts, that has private pictures or features: they leaked. It
is outside the threat model, so it is nobody's worst case, and has one of its own."""
ITSELF = {"oracle": "itself", "restart": "best"}
"""Where others say who judged which of their restarts: this attack names people, and has no judge."""


@dataclass
class Reading:
    """Whom the identifier names for N features.

    Attributes:
        correct, top5: (N,) bool, whether the right person is named first, or among five.
    """

    correct: Tensor
    top5: Tensor

    def columns(self, identities: Tensor) -> dict[str, float]:
        """Its columns of results.csv; `identities` (N,) are in the pictures."""
        accuracy = clustered_share(self.correct, identities)
        return interval_columns("eval_acc", accuracy) | {"top5": share(self.top5)}


def expose(
    identifier: FeatureIdentifier, encoder: nn.Module, store: TensorStore, faces: Faces
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Read identities from the features in `store`, and for comparison from undefended ones.

    Returns:
        The one row there is, its `seconds` per image, and the lines of each image.
    """
    features = load_features(store, faces)
    before = time.monotonic()
    found = read_identities(identifier.network, features, faces)
    seconds = (time.monotonic() - before) / len(faces.rows)
    # The same network on undefended features: what the defence has cost the attacker, all else alike.
    clean = read_identities(identifier.network, in_batches(encoder, faces.images), faces)
    row = {"seconds": seconds, **ITSELF, "clean_acc": share(clean.correct), **found.columns(faces.identities)}
    return [row], lines_per_image(ITSELF, faces, vars(found))


def read_identities(network: nn.Module, features: Tensor, faces: Faces) -> Reading:
    """What ``network`` reads from the features (N, C, h, w) of all ``faces``."""
    scores = in_batches(network, features)
    return Reading(identified(scores, faces.identities), identified(scores, faces.identities, k=5))


def share(hits: Tensor) -> float:
    """The share of `hits` (N,) bool that are true."""
    return hits.double().mean().item()
