"""How the study was run: configuration, seeds, data, versions, run time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
import yaml

from experiments.classes import without_private
from experiments.machine import made_with
from experiments.report.analysis import Analysis
from experiments.report.document import Block, Code, Folded, Items, Table
from experiments.report.formats import filled
from experiments.report.results import Results
from experiments.study.data import DATA_STAGE, SPLITS
from experiments.study.marker import read_marker
from experiments.study.views import clock

TITLE = "How it was run"
PUBLISHED = True


def blocks(analysis: Analysis) -> Iterator[Block]:
    results = analysis.results
    config = yaml.safe_dump(without_private(results.config), sort_keys=False, allow_unicode=True)
    stages = _run_time(results)
    machines = [made for made in stages.pop("made_with").unique() if made]
    facts = {"seed": results.config["seed"], **_data_facts(results)}
    yield Items([*(f"{name}: {fact}" for name, fact in facts.items()), *_made_with(machines)])
    yield Folded("The study's configuration", [Code(config, "yaml")])
    total = clock(stages["seconds"].sum())
    shown = filled(stages.assign(key=stages["key"].str[:12]))
    yield Folded(f"Run time: {len(stages)} stages, {total} in total", [Table(shown, "run-time", stages)])


def _made_with(machines: Sequence[str]) -> Iterator[str]:
    """What the stages were computed with, and this report made."""
    here = made_with()
    for machine in machines:
        yield f"{'computed, and this report made,' if machine == here else 'computed'} with: {machine}"
    if here not in machines:
        yield f"report made with: {here}"


def _data_facts(results: Results) -> dict[str, Any]:
    """What was protected: how many pictures, and the hash of splits.csv, which holds the hash of each."""
    facts: dict[str, Any] = {}
    if DATA_STAGE not in results.done:
        return facts
    path = results.folder(DATA_STAGE) / SPLITS
    if path.is_file():
        splits = pd.read_csv(path, dtype=str)
        facts["sha256 of splits.csv"] = hashlib.sha256(path.read_bytes()).hexdigest()
        for role, lines in splits.groupby("role", sort=False):
            facts[str(role)] = f"{len(lines)} images of {lines['identity'].nunique()} people"
    return facts


def _run_time(results: Results) -> pd.DataFrame:
    """Every stage: the key that names its numbers, seconds, megabytes, when it was done, and with what."""
    folders = [results.output / stage["folder"] for stage in results.stages]
    markers = [read_marker(folder) for folder in folders]
    columns = ["stage", "key", "seconds", "megabytes", "finished", "made_with"]
    return pd.DataFrame(markers).reindex(columns=columns).fillna({"made_with": ""})
