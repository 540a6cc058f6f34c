"""The rows of results.csv: what they are called, what all of them hold, and how a stage writes them."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.evaluation.faces import Faces
from experiments.evaluation.utility import Utility

LABELS = (
    *("dataset", "scenario", "network", "defence", "strength", "attack", "access"),
    *("adaptive", "countermeasure", "epoch", "budget"),
)
IMAGE_KEYS = ("oracle", "restart", "row", "identity")


def check_labels(labels: Mapping[str, Any] | None) -> None:
    """Refuse labels that results.csv has no column for.

    Raises:
        ValueError: naming them.
    """
    if unknown := set(labels or {}) - set(LABELS):
        raise ValueError(f"labels {sorted(unknown)} are no columns; known: {', '.join(LABELS)}")


def common_columns(
    labels: Mapping[str, Any] | None, utility: Utility, faces: Faces, seed: int
) -> dict[str, Any]:
    """What all rows of one stage share."""
    counts = {"n_images": len(faces.rows), "n_identities": len(faces.identities.unique())}
    return dict.fromkeys(LABELS) | dict(labels or {}) | utility.columns() | counts | {"seed": seed}


def lines_per_image(
    key: Mapping[str, str], faces: Faces, found: Mapping[str, Tensor]
) -> list[dict[str, Any]]:
    """Of per_image.csv: what was found of each image, (N,) each, hits as 0 and 1."""
    columns = {"row": faces.rows, "identity": faces.identities} | {
        name: values.int() if values.dtype == torch.bool else values for name, values in found.items()
    }
    lines = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [{**key, **dict(zip(columns, line, strict=True))} for line in lines]


def write(output: Path, rows: list[dict[str, Any]], per_image: list[dict[str, Any]]) -> None:
    """results.json (NaN becomes null) and, for its owner alone, per_image.csv."""
    output.mkdir(parents=True, exist_ok=True)
    write_table(output / "per_image.csv", per_image, IMAGE_KEYS, mode=0o600)
    temporary = output / "results.json.tmp"  # results.json is what says that the stage is done
    temporary.write_text(json.dumps(list(map(_without_nan, rows)), indent=1, allow_nan=False))
    temporary.replace(output / "results.json")


def write_table(
    path: Path, lines: list[dict[str, Any]], columns: Sequence[str] = (), mode: int = 0o644
) -> None:
    """A CSV with these permissions, and these columns if there is no line; NaN becomes empty."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", newline="") as file:
        table = csv.DictWriter(file, lines[0] if lines else columns)
        table.writeheader()
        table.writerows(map(_without_nan, lines))


def _without_nan(line: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in line.items()
    }
