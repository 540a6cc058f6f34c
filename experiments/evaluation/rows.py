"""The rows of results.csv: what they are called, what all of them hold, and how a stage writes them."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.evaluation import answers, average_faces, judge, unlinkability, utility
from experiments.evaluation.columns import Column
from experiments.evaluation.faces import Faces
from facecrafter.cells import neutral
from facecrafter.files import write_whole

LABELS = (
    *("dataset", "scenario", "network", "defence", "strength", "attack", "access"),
    *("adaptive", "countermeasure", "epoch", "budget", "queries"),
)
COUNTS = ("n_images", "n_identities", "seed", "seconds")
IMAGE_KEYS = ("oracle", "restart", "row", "identity")
IMAGE_FIGURES = ("correct",)
"""Columns of per_image.csv that results.csv has under another name."""


def check_labels(labels: Mapping[str, Any] | None) -> None:
    """Refuse labels that results.csv has no column for.

    Raises:
        ValueError: naming them.
    """
    if unknown := set(labels or {}) - set(LABELS):
        raise ValueError(f"labels {sorted(unknown)} are no columns; known: {', '.join(LABELS)}")


def describe_columns(likeness: Sequence[Column]) -> list[Column]:
    """All figures of results.csv, those of `likeness` among them, in the order in which they are shown.

    Raises:
        ValueError: a metric has the name of another column.
    """
    others = (*judge.COLUMNS, *utility.COLUMNS, *average_faces.COLUMNS)
    beside = (*answers.COLUMNS, *unlinkability.COLUMNS)  # which experiments.answers measures
    taken = {
        *LABELS,
        *COUNTS,
        *IMAGE_KEYS,
        *IMAGE_FIGURES,
        *(name for o in (*others, *beside) for name in o.names()),
    }
    if clash := [column.name for column in likeness if column.name in taken]:
        raise ValueError(f"a metric cannot be named {clash[0]!r}: results.csv has such a column already")
    return [*judge.COLUMNS, *utility.COLUMNS, *likeness, *average_faces.COLUMNS]


def common_columns(
    labels: Mapping[str, Any] | None, read: utility.Utility, faces: Faces, n_identities: int, seed: int
) -> dict[str, Any]:
    """What all rows of one stage share.

    Args:
        n_identities: people among whom each image is sought, shown on an image or not: whoever guesses names
            one of them.
    """
    counts = {"n_images": len(faces.rows), "n_identities": n_identities, "seed": seed}
    return dict.fromkeys(LABELS) | dict(labels or {}) | read.columns() | counts


def lines_per_image(
    key: Mapping[str, str], faces: Faces, found: Mapping[str, Tensor]
) -> list[dict[str, Any]]:
    """The lines of per_image.csv: what was found of each image, (N,) each, hits as 0 and 1."""
    columns = {"row": faces.rows, "identity": faces.identities} | {
        name: values.int() if values.dtype == torch.bool else values for name, values in found.items()
    }
    lines = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [{**key, **dict(zip(columns, line, strict=True))} for line in lines]


def write(
    output: Path, rows: list[dict[str, Any]], per_image: list[dict[str, Any]], columns: Iterable[Column]
) -> None:
    """What a stage measured: columns.json, which says what the figures are; per_image.csv; and
    results.json, in which NaN is null."""
    write_whole(output / "columns.json", json.dumps([asdict(column) for column in columns], indent=1))
    write_table(output / "per_image.csv", per_image, IMAGE_KEYS)
    # Written last: results.json is what says that the stage is done.
    content = json.dumps(list(map(_without_nan, rows)), indent=1, allow_nan=False)
    write_whole(output / "results.json", content)


def write_table(path: Path, lines: list[dict[str, Any]], columns: Sequence[str] = ()) -> None:
    """A CSV, with these columns if there is no line; NaN becomes empty, and no text a formula."""
    text = io.StringIO(newline="")
    names = list(lines[0] if lines else columns)
    table = csv.writer(text)
    table.writerow(map(neutral, names))
    table.writerows([neutral(line[name]) for name in names] for line in map(_without_nan, lines))
    write_whole(path, text.getvalue())


def _without_nan(line: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in line.items()
    }
