"""What the engine's speed costs in quality: its frontier against that of the published algorithm.

Runs a study in which both protect the same images, on the same trained networks, and fresh attacks read their
features. It is an ordinary study: what is done is kept in its folder, and it has a report of its own.

A row for every strength, attack and judge says what the attack makes of it, and at what cost in utility:
`utility_loss` is L_u, the mean square change of a feature's elements. A row of a frontier compares, for one
strength of the published algorithm, with what the engine would reach at the same `utility_loss` or the same
`auc`: between its two nearest strengths (the undefended features are one), image by image and in proportion.
`difference` is engine less published, paired on images, with its interval over people; below 0 the engine
protects better. Where no two strengths enclose the published one there is no row.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from experiments.bench.timing import Row
from experiments.report.results import Results, gather, stage_of
from experiments.report.statistics.paired_tests import Key
from facecrafter.metrics.intervals import Interval, clustered_mean
from facecrafter.store import TensorStore

ENGINE, PUBLISHED = "crafter", "crafter_published"
"""The study's names for the two defences."""
MEASURED = ("eval_acc", "eval_acc_lo", "eval_acc_hi", "epsilon", "auc", "auc_lo", "auc_hi")


@dataclass(frozen=True)
class Sizes:
    """What is compared.

    Args:
        config: the study, with defences called `none`, `crafter` and `crafter_published`.
        output: its folder.
    """

    config: str = "experiments/configs/bench-quality.yaml"
    output: str = "studies/bench-quality"


FULL = Sizes()
QUICK = None


def rows(sizes: Sizes, bar: tqdm, device: torch.device) -> list[Row]:
    """Every point of both frontiers, then one against the other. The study shows its own progress."""
    bar.reset(total=1)
    line = [sys.executable, "-m", "experiments.study", "--config", sizes.config, "--output", sizes.output]
    subprocess.run(line, check=True, stdout=sys.stderr)
    points = list(read_points(gather(Path(sizes.output))))
    bar.update()
    return [point.row() for point in points] + list(frontier(points))


class Point(NamedTuple):
    """One defence at one strength, under one attack, in the eyes of one judge.

    Attributes:
        correct: (N,), which images were identified, in ascending order of row.
        identities: (N,), whose they are.
        utility_loss: L_u.
        seconds_per_image: of protecting.
        measured: the columns MEASURED of the study's results.
    """

    defence: str
    strength: str
    attack: str
    oracle: str
    correct: Tensor
    identities: Tensor
    utility_loss: Interval
    seconds_per_image: float
    measured: dict[str, float]

    @property
    def case(self) -> str:
        return f"{self.attack} judged by {self.oracle}"

    def row(self) -> Row:
        """One line of the table."""
        loss = self.utility_loss
        return {
            "case": self.case,
            "defence": self.defence,
            "strength": self.strength,
            "seconds_per_image": self.seconds_per_image,
            "utility_loss": loss.value,
            "utility_loss_lo": loss.lo,
            "utility_loss_hi": loss.hi,
            **self.measured,
        }

    def at(self, axis: str) -> float:
        """Where the point is on the axis of utility."""
        return self.utility_loss.value if axis == "utility_loss" else self.measured[axis]


def read_points(results: Results) -> Iterator[Point]:
    """The points of a finished study, attack by attack."""
    best = results.best().sort_values(["attack", "oracle"], kind="stable")
    stages: dict[str, tuple[Interval, float]] = {}
    for _, row in best[best["defence"].isin(["none", ENGINE, PUBLISHED])].iterrows():
        faces = _faces(results.per_image, row)
        stage = stage_of(row)
        if stage not in stages:
            stages[stage] = _utility_loss(results, stage, faces["identity"]), _seconds(results, stage)
        yield Point(
            *(row[name] for name in ("defence", "strength", "attack", "oracle")),
            *(torch.tensor(faces[name].to_numpy("int64")) for name in ("correct", "identity")),
            *(stages[stage][0], stages[stage][1] / len(faces)),
            {name: row[name] for name in MEASURED},
        )


def _faces(per_image: pd.DataFrame, row: pd.Series) -> pd.DataFrame:
    """What became of every image, in ascending order of row."""
    names = list(Key._fields)
    return per_image[(per_image[names] == row[names]).all(axis=1)].sort_values("row")


def _utility_loss(results: Results, stage: str, identities: pd.Series) -> Interval:
    """L_u of the features that the stage protected, with its interval over people."""
    protected, raw = (
        TensorStore.open(results.folder(name) / "features").load("features")["features"]
        for name in (stage, "none")
    )
    losses = (protected - raw).square().flatten(1).mean(dim=1)
    return clustered_mean(losses, torch.tensor(identities.to_numpy("int64")))


def _seconds(results: Results, stage: str) -> float:
    return json.loads((results.folder(stage) / "stage.json").read_text())["seconds"]


def frontier(points: list[Point]) -> Iterator[Row]:
    """Each published point against the engine's frontier, at equal L_u and at equal AUC."""
    for point in points:
        if point.defence == PUBLISHED:
            rivals = [rival for rival in points if rival.case == point.case and rival.defence != PUBLISHED]
            for axis in ("utility_loss", "auc"):
                for low, high in _neighbours(rivals, axis, point.at(axis)):
                    yield _against(point, axis, low, high)


def _neighbours(rivals: list[Point], axis: str, value: float) -> list[tuple[Point, Point]]:
    """The two rivals next to each other on the axis that enclose the value, if there are two."""
    ordered = sorted(rivals, key=lambda rival: rival.at(axis))
    return [(low, high) for low, high in pairwise(ordered) if low.at(axis) <= value <= high.at(axis)][:1]


def _against(point: Point, axis: str, low: Point, high: Point) -> Row:
    value, span = point.at(axis), high.at(axis) - low.at(axis)
    share = (value - low.at(axis)) / span if span else 0.0
    engine = torch.lerp(low.correct.double(), high.correct.double(), share)
    difference = clustered_mean(engine - point.correct.double(), point.identities)
    epsilons = (1 - share) * low.measured["epsilon"] + share * high.measured["epsilon"]
    return {
        "case": f"frontier, {point.case}",
        "at": f"{axis} of {point.strength}",
        "value": value,
        "published_eval_acc": point.measured["eval_acc"],
        "engine_eval_acc": engine.mean().item(),
        "difference": difference.value,
        "difference_lo": difference.lo,
        "difference_hi": difference.hi,
        "verdict": "better" if difference.hi < 0 else "worse" if difference.lo > 0 else "none shown",
        "published_epsilon": point.measured["epsilon"],
        "engine_epsilon": epsilons,
    }
