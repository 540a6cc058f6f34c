"""Linkage: private features matched to photographs, without any image of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch

from experiments.evaluation.batches import in_batches, mean_in_batches
from experiments.evaluation.faces import Faces, load_features
from experiments.evaluation.judge import Judge
from experiments.evaluation.rows import lines_per_image
from experiments.machine import device
from facecrafter.store import TensorStore
from lightning_modules.attackers.linker import Linker


def link(
    linker: Linker, queries: Sequence[TensorStore], faces: Faces, judges: Sequence[Judge]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Where `linker` sees the features among photographs, on average over `queries`, and whose those are.

    Returns:
        A row for each judge, with its `seconds` per image, and the lines of each image.

    Raises:
        ValueError: a judge sees photographs elsewhere than the network that `linker` learnt from.
    """
    for judge in judges:
        _check_space(linker, judge, faces)
    features = [load_features(store, faces) for store in queries]
    before = time.monotonic()
    directions = mean_in_batches(linker.embed, features)
    seconds = (time.monotonic() - before) / len(faces.rows)
    rows, per_image = [], []
    for judge in judges:
        key, seen = {"oracle": judge.name, "restart": "best"}, judge.from_mean_face(linker.mean)
        sight = seen.see_directions(directions)
        verdict = seen.verdict(sight)
        rows.append({"seconds": seconds} | key | seen.columns(sight, verdict))
        per_image += lines_per_image(key, faces, vars(verdict))
    return rows, per_image


def _check_space(linker: Linker, judge: Judge, faces: Faces) -> None:
    """Sees that both embed a photograph alike: what they were made from need not be said alike."""
    own = linker.oracle.on(device()).embed
    # Two images tell networks apart: weights of another training answer differently to any image.
    found, expected = (in_batches(embed, faces.images[:2]) for embed in (own, judge.oracle.embed))
    if found.shape != expected.shape or not torch.allclose(found, expected, rtol=1e-3, atol=1e-4):
        raise ValueError(
            f"the linker learnt another network's embeddings than those of oracle {judge.name}: in a study "
            "give it oracle: ${oracle}"
        )
