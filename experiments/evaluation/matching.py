"""Matching: private features compared with the encoder's features of photographs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from datamodules.datasets import FaceDataset
from experiments.evaluation.answers import Pictures, answered
from experiments.evaluation.batches import in_batches, mean_in_batches
from experiments.evaluation.exposure import ITSELF, Reading, share
from experiments.evaluation.faces import Faces, load_features, load_some
from experiments.evaluation.judge import open_set_columns
from experiments.evaluation.rows import lines_per_image
from experiments.machine import device
from facecrafter.metrics import identified, likelihood_ratios
from facecrafter.metrics.matching import Channel, of_strangers
from facecrafter.store import TensorStore
from lightning_modules.attackers.matcher import Matcher


def match(
    matcher: Matcher,
    queries: Sequence[TensorStore],
    faces: Faces,
    known: FaceDataset,
    seed: int,
    protected: TensorStore | None = None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Whom `matcher` takes the features for, among photographs of the private people.

    Args:
        matcher: who compares.
        queries: stores of the features of these pictures, as they are released: their mean coordinates count.
        faces: the pictures they are of.
        known: photographs of everybody, none of them a picture that was released.
        seed: of the bootstrap.
        protected: the store of features of some of the photographs, of everybody, which the attacker had
            protected and compares with; without one it encodes all of them as they are.

    Returns:
        The one row there is, its `seconds` per image, and the lines of each image.

    Raises:
        ValueError: `protected` holds other pictures, or none of somebody.
    """
    encode = matcher.encoder.on(device())

    def placed(images: Tensor) -> Tensor:
        return matcher.coordinates(encode(images))

    if protected is None:
        photographs, known_by = answered(placed, known, torch.arange(len(known))), None
    else:
        features, whose = load_some(protected, known)
        photographs, known_by = Pictures(in_batches(matcher.coordinates, features), whose), matcher.channel

    def scores(sent: Tensor, channel: Channel | None = None) -> Tensor:
        places = (one.to(device()) for one in (sent, photographs.numbers, photographs.identities))
        return matcher.scores(*places, channel, known_by).cpu()

    released = [load_features(store, faces) for store in queries]
    before = time.monotonic()
    sent = mean_in_batches(matcher.coordinates, released)
    densities = scores(sent)
    found = _named(densities, faces)
    seconds = (time.monotonic() - before) / len(faces.rows)
    strangers = of_strangers(matcher.people, matcher.channel, sent.to(device()), matcher.queries).cpu()
    ratios = likelihood_ratios(densities, strangers, faces.identities)
    clean = scores(in_batches(placed, faces.images), Channel.transparent(len(matcher.scale), device()))
    row = {
        "seconds": seconds,
        **ITSELF,
        "clean_acc": share(_named(clean, faces).correct),
        **found.columns(faces.identities),
        **open_set_columns(ratios, faces.identities, seed, found.correct),
    }
    return [row], lines_per_image(ITSELF, faces, vars(found))


def _named(densities: Tensor, faces: Faces) -> Reading:
    """Who is likeliest, by log-densities (N, P)."""
    return Reading(*(identified(densities, faces.identities, k=k) for k in (1, 5)))
