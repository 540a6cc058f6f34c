"""Sections on the attacker in plain words, on repetitions, and on how the study was run."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator

import pandas as pd
import yaml

from experiments.machine import made_with
from experiments.report import evidence, readable_measures
from experiments.report.cells import filled
from experiments.report.document import Block, Code, Folded, Items, Table, Text
from experiments.report.findings import without_folders
from experiments.report.material import Material
from experiments.report.seeds import combine
from experiments.study.runner import clock

THREAT = (
    "The attacker intercepts the features, has photographs of other people, and wants to know who is in "
    "the picture. They know which defence is used and how. What each attack here has and does:"
)
ATTACKS = {
    "white_box": "has the encoder, and searches what a generator can make for a face with this feature.",
    "white_box_amortized": "the same, started from a network's guess instead of at random.",
    "black_box": "can only query the encoder, and trains a decoder from features to others' faces.",
    "hybrid": "starts from the decoder's face, then changes its pixels until the feature fits.",
    "progressive": "has the encoder, and adjusts the generator's later layers one after the other.",
    "a1_*": "adapts: sends pictures of others through the defence, and goes on training on what comes out.",
    "a2_*": "adapts: uses another generator than the one that the defence was made against.",
    "a3_matched": "adapts: as a3_average, but first finds out which features are of the same picture.",
    "a3_*": "adapts: sees the same picture protected several times, and averages.",
    "exposure_images": "got hold of some of the private people's own pictures, and trains with them.",
    "exposure_features": "got hold of undefended features with names, and names a person without any image.",
}
OUTSIDE = (
    "Outside the model: an attacker who gets at the photographs before they are protected, or who knows "
    "from elsewhere who sends them. Only attacks that were run are covered; a better one may find more."
)
SEEDS = (
    "The same study with other seeds: mean over seeds, with the interval of that mean. It says how a "
    "figure varies from run to run, for the people that were measured; the other intervals say how it "
    "varies with the people."
)


def threat_model(material: Material) -> Iterator[Block]:
    """Who attacks, with what."""
    found = material.findings.best["attack"].unique()
    yield Text(THREAT)
    yield Items([f"{name} {words}" for name in found if (words := explanation(name))])
    yield Text(OUTSIDE)


def explanation(attack: str) -> str:
    """What an attack has and does; '' if its name says nothing to this module."""
    return next((text for pattern, text in ATTACKS.items() if fnmatch.fnmatchcase(attack, pattern)), "")


def over_seeds(material: Material) -> Iterator[Block]:
    """The spread over studies that differ in their seed."""
    if material.other_seeds:
        studies = [material.results.rows, *material.other_seeds]
        rows = pd.concat(studies, ignore_index=True).fillna({"strength": "", "countermeasure": "none"})
        table = combine(rows[rows["restart"].astype(str) == "best"], ["eval_acc", "auc"])
        yield Text(SEEDS)
        yield Table(readable_measures.seeds(table), "seeds", table)


def how_it_was_run(material: Material) -> Iterator[Block]:
    """Configuration, seeds, data, versions, run time."""
    results = material.results
    config = yaml.safe_dump(without_folders(results.config), sort_keys=False, allow_unicode=True)
    stages = evidence.run_time(results)
    machines = [made for made in stages.pop("made_with").unique() if made]
    facts = {"seed": results.config["seed"], **evidence.data_facts(results)}
    made = [f"computed with: {machine}" for machine in machines] + [f"report made with: {made_with()}"]
    yield Items([f"{name}: {fact}" for name, fact in facts.items()] + made)
    yield Folded("The study's configuration", [Code(config, "yaml")])
    total = clock(stages["seconds"].sum())
    shown = filled(stages.assign(key=stages["key"].str[:12]))
    yield Folded(f"Run time: {len(stages)} stages, {total} in all", [Table(shown, "run-time", stages)])
