"""The privacy-utility curve of what a study has measured so far, as a plot of letters."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.evaluation.combining import UNION
from experiments.evaluation.exposure import EXPOSURE
from experiments.study.plan_attacks import is_whole

MARKS = "ox+*#@%&abcdefghijklmnpqrstuvwyz"


class Point(NamedTuple):
    """A defence at one strength: what the cloud reads, and what its worst case is so far."""

    defence: str
    strength: str
    auc: float
    eval_acc: float


def points(measured: Mapping[Path, Mapping[str, Any]]) -> list[Point]:
    """Each defence and strength with the highest Eval Acc of the attacks that are measured and that were not
    given private pictures.

    Args:
        measured: folders of the stages that measure, and the labels of their rows.
    """
    worst: dict[tuple[str, str], Point] = {}
    for folder, labels in measured.items():
        if labels.get("attack") == UNION or not is_whole(labels):  # in a union luck adds up
            continue
        if labels.get("adaptive") == EXPOSURE:
            continue
        key = (str(labels["defence"]), str(labels["strength"]))
        for row in _rows(folder / "results.json"):
            if row.get("eval_acc") is None or row.get("auc") is None or row.get("restart") != "best":
                continue
            found = Point(*key, row["auc"], row["eval_acc"])
            worst[key] = max(worst.get(key, found), found, key=lambda point: point.eval_acc)
    return sorted(worst.values())


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):  # not written yet
        return []


def plot(found: Sequence[Point], width: int, height: int) -> str:
    """Utility to the right, leak upwards: the ideal corner is bottom right. Empty without points."""
    if not found:
        return ""
    marks = dict(zip(_names(found), MARKS, strict=False))
    low, high = _range([point.auc for point in found], least=0.02)
    top = max(0.05, *(point.eval_acc for point in found))
    columns, rows = max(10, width - 7), max(3, height - 3)
    grid = [[" "] * columns for _ in range(rows)]
    for point in found:
        column = round((point.auc - low) / (high - low) * (columns - 1))
        row = round((1 - point.eval_acc / top) * (rows - 1))
        grid[row][column] = marks.get(point.defence, "?")
    labels = {0: f"{top:.0%}", rows - 1: "0%"}
    lines = [f"{labels.get(number, ''):>5} |{''.join(row).rstrip()}" for number, row in enumerate(grid)]
    scale = f"{f'AUC {low:.3f}':<{columns - 5}}{high:.3f}"
    legend = "  ".join(f"{mark} {name}" for name, mark in marks.items())
    return "\n".join([*lines, f"      +{'-' * columns}", f"       {scale}", f"       {legend}"])


def _names(found: Iterable[Point]) -> list[str]:
    return list(dict.fromkeys(point.defence for point in found))


def _range(values: Sequence[float], least: float) -> tuple[float, float]:
    """From the lowest to the highest, and some more where they are one."""
    low, high = min(values), max(values)
    more = max(0.0, least - (high - low)) / 2
    return low - more, high + more
