"""What several attacks on the same features come to together: image by image, and in one embedding."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from experiments.evaluation import utility
from experiments.evaluation.columns import interval_columns
from experiments.evaluation.exposure import ITSELF
from experiments.evaluation.faces import Faces
from experiments.evaluation.judge import Judge
from experiments.evaluation.restarts import read_restarts
from experiments.evaluation.rows import COUNTS, lines_per_image
from facecrafter.metrics import Interval, clustered_share
from facecrafter.store import TensorStore

UNION, FUSION = "union", "fusion"
"""What results.csv calls them, as if they were attacks. No attacker knows which of the images that make up a
union is the right one: it bounds what all of them together may find. A fusion can be computed."""
HITS = ("correct", "top5")

Combined = tuple[list[dict[str, Any]], list[dict[str, Any]]]
"""A row for each judge, and the lines of each image."""


def union(measured: Sequence[Path], oracles: Iterable[str]) -> Combined:
    """An image counts as identified where one attack in one of its restarts has shown it to the judge, or
    named its person without one.

    Args:
        measured: folders of what `experiments.measure` found of the attacks.
        oracles: the judges.
    """
    lines = [line for folder in measured for line in _table(folder / "per_image.csv")]
    results = [row for folder in measured for row in json.loads((folder / "results.json").read_text())]
    rows, per_image = [], []
    for oracle in oracles:
        found: dict[int, dict[str, Any]] = {}
        for line in (line for line in lines if line["oracle"] in (oracle, ITSELF["oracle"])):
            name = {"oracle": oracle, "restart": "best", "row": int(line["row"])}
            image = found.setdefault(name["row"], name | {"identity": int(line["identity"])})
            # Once for each image, however many attacks and restarts have shown it.
            image |= {hit: max(image.get(hit, 0), int(line[hit])) for hit in HITS}
        images = [found[row] for row in sorted(found)]
        best = [row for row in results if row["restart"] == "best"]
        judged, bare = ([row for row in best if row["oracle"] == by] for by in (oracle, ITSELF["oracle"]))
        rows.append(
            {
                "oracle": oracle,
                "restart": "best",
                "clean_acc": judged[0]["clean_acc"] if judged else None,
                **interval_columns("eval_acc", _share(images)),
                "top5": sum(image["top5"] for image in images) / len(images),
                "seconds": sum(row["seconds"] for row in judged + bare),
            }
        )
        per_image += images
    return rows, per_image


def _share(images: Sequence[Mapping[str, Any]]) -> Interval:
    hits, people = (torch.tensor([image[name] for image in images]) for name in ("correct", "identity"))
    return clustered_share(hits.bool(), people)


def fusion(stores: Sequence[TensorStore], judges: Iterable[Judge], faces: Faces) -> Combined:
    """Whom the mean of the judge's embeddings of all reconstructions of an image shows, restarts included.

    A judge that does not embed, such as a service that names people, sees no mean: it has no row.
    """
    attacks = [read_restarts(store, faces) for store in stores]
    seconds = sum(attack.seconds for attack in attacks)
    rows, per_image = [], []
    for judge in judges:
        if not judge.oracle.embeds:
            continue
        embeddings = [judge.see(images).features for attack in attacks for images in attack.images]
        key, sight = {"oracle": judge.name, "restart": "best"}, judge.see_embeddings(_mean(embeddings))
        verdict = judge.verdict(sight)
        rows.append({"seconds": seconds} | key | judge.columns(sight, verdict))
        per_image += lines_per_image(key, faces, vars(verdict))
    return rows, per_image


def shared_columns(measured: Path) -> dict[str, Any]:
    """What all measurements of one defence at one strength say alike: utility and counts."""
    names = [*(name for column in utility.COLUMNS for name in column.names()), *COUNTS]
    row = json.loads((measured / "results.json").read_text())[0]
    return {name: row[name] for name in names if name != "seconds"}


def _mean(embeddings: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(embeddings)).mean(dim=0)


def _table(path: Path) -> list[Mapping[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
