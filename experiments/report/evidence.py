"""The study's further measurements as tables: epochs, countermeasures, ε, attributes, people and pictures."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pandas as pd
import torch

from experiments.report.checks import times_chance
from experiments.report.outcomes import Outcomes, together
from experiments.report.results import POINT, Results
from experiments.report.worst_case import BOUNDS, key
from facecrafter.metrics.correlation import rank_correlation

EVAL_ACC = [f"eval_acc{bound}" for bound in BOUNDS]
LIKENESS = {"eval_acc": "Eval Acc", "ssim": "SSIM", "fsim": "FSIM"}
"""What ε is held against: whoever is further from an average face should be recognised and resemble more."""


def ladder(best: pd.DataFrame, outcomes: Outcomes) -> pd.DataFrame:
    """How strong each attack is where nothing is defended, and whether it is weaker than the white-box one.

    `verdict` compares with `white_box` under the same oracle, all as one family of tests (Holm); empty where
    there is none.
    """
    rows = best[(best["defence"] == "none") & best["eval_acc"].notna() & (best["countermeasure"] == "none")]
    shown = rows[["attack", "epoch", "access", "adaptive", "oracle", *EVAL_ACC]]
    shown = shown.assign(times_chance=[times_chance(row) for _, row in rows.iterrows()])
    pairs = {index: (key(row), key(row)._replace(trial="white_box")) for index, row in rows.iterrows()}
    pairs = {
        index: pair
        for index, pair in pairs.items()
        if pair[0] != pair[1] and all(k in outcomes for k in pair)
    }
    tests = together([outcomes.difference(*pair) for pair in pairs.values()])
    return shown.join(tests.set_index(pd.Index(pairs))[["change", "lo", "hi", "p_holm", "verdict"]])


def epochs(best: pd.DataFrame) -> pd.DataFrame:
    """The attacks that train on protected features, epoch by epoch."""
    rows = best[best["epoch"].notna()].astype({"epoch": int})
    return rows[[*POINT, "attack", "oracle", "epoch", "n_images", "n_identities", *EVAL_ACC]]


def countermeasures(best: pd.DataFrame, outcomes: Outcomes) -> pd.DataFrame:
    """Averaging several queries, under each countermeasure, and what it adds to the strongest basic attack.

    One family of tests (Holm) for each defence at one strength and judge.
    """
    tables = []
    for _, rows in best[best["eval_acc"].notna()].groupby([*POINT, "oracle"], sort=False):
        averaged, basic = rows[rows["adaptive"] == "A3"], rows[rows["adaptive"] == "none"]
        if averaged.empty or basic.empty:
            continue
        single = basic.loc[basic["eval_acc"].idxmax()]
        tests = together([outcomes.difference(key(row), key(single)) for _, row in averaged.iterrows()])
        shown = averaged[[*POINT, "attack", "countermeasure", "oracle", *EVAL_ACC]].reset_index(drop=True)
        one = {"one_query_attack": single["attack"], "one_query_eval_acc": single["eval_acc"]}
        tables.append(pd.concat([shown.assign(**one), tests], axis=1))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def epsilon_curves(results: Results) -> pd.DataFrame:
    """ε and its null over the number of images, for every attack."""
    return _beside_results(results, "epsilon.csv")


def attributes(results: Results) -> pd.DataFrame:
    """The AUC of each attribute, for every defence and strength."""
    found = _beside_results(results, "attributes.csv")
    return found.drop_duplicates([*POINT, "attribute"]).drop(columns="attack") if len(found) else found


def _beside_results(results: Results, name: str) -> pd.DataFrame:
    tables = []
    for stage in results.measured():
        labels, path = stage["labels"], results.output / stage["folder"] / name
        if path.is_file() and labels.get("countermeasure", "none") == "none":
            names = {column: labels[column] for column in (*POINT, "attack")} | {"epoch": labels.get("epoch")}
            tables.append(pd.DataFrame([names]).merge(pd.read_csv(path), how="cross"))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def consistency(best: pd.DataFrame, judge: str) -> pd.DataFrame:
    """ε beside what should go with it, for every defence, strength and attack that `judge` saw."""
    shown = best[(best["oracle"] == judge) & best["epsilon"].notna()] if "epsilon" in best else best.iloc[:0]
    return shown[[*POINT, "trial", *(["epsilon", "epsilon_null"] if len(shown) else []), *LIKENESS]]


def correlations(points: pd.DataFrame) -> pd.DataFrame:
    """Rank correlation of ε with each of `LIKENESS`, with 95% intervals over defences and strengths."""
    columns = {name: torch.tensor(points[name].to_numpy(dtype=float)) for name in ("epsilon", *LIKENESS)}
    clusters = torch.tensor(points.groupby(POINT, sort=False).ngroup().to_numpy())
    found = [rank_correlation(columns["epsilon"], columns[name], clusters) for name in LIKENESS]
    table = pd.DataFrame(found, columns=["correlation", "correlation_lo", "correlation_hi"])
    return table.assign(figure=list(LIKENESS), points=len(points), settings=int(clusters.max()) + 1)


def relation(found: pd.Series) -> str:
    """Whether ε goes with the figure, as its interval allows to say."""
    if found["correlation_lo"] > 0:
        return "they rise together, as they should"
    if found["correlation_hi"] < 0:
        return "one falls as the other rises: ε orders them the wrong way round here"
    return "no relation shown"


def data_facts(results: Results) -> dict[str, Any]:
    """What was protected: how many pictures, and the hash of splits.csv, which holds the hash of each."""
    facts: dict[str, Any] = {}
    stage = next((stage for stage in results.stages if stage["command"] == "prepare"), None)
    if stage is None:
        return facts
    path = results.output / stage["folder"] / "splits.csv"
    if path.is_file():
        splits = pd.read_csv(path, dtype=str)
        facts["sha256 of splits.csv"] = hashlib.sha256(path.read_bytes()).hexdigest()
        for role, lines in splits.groupby("role", sort=False):
            facts[str(role)] = f"{len(lines)} images of {lines['identity'].nunique()} people"
    return facts


def run_time(results: Results) -> pd.DataFrame:
    """Every stage: the key that names its numbers, seconds, megabytes, when it was done, and with what."""
    folders = [results.output / stage["folder"] for stage in results.stages]
    markers = [json.loads((folder / "stage.json").read_text()) for folder in folders]
    columns = ["stage", "key", "seconds", "megabytes", "finished", "made_with"]
    return pd.DataFrame(markers).reindex(columns=columns).fillna({"made_with": ""})
