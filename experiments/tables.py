"""A study's results as tables: every row, the worst case per defence, paired tests, the study's checks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from facecrafter.metrics.intervals import paired_difference, paired_ratio

POINT = ["defence", "strength"]
BETTER_ATTACK, WHITE_BOX = 10.0, 5.0
"""How far above chance the undefended attacks have to be, for a protected one to mean anything."""


@dataclass(frozen=True)
class Results:
    """What a study has measured so far.

    Attributes:
        output: the study's folder.
        config: its resolved configuration.
        stages: the plan: name, command, folder, inputs, labels of every stage.
        rows: results.csv.
        per_image: one line per image, attack, oracle and restart, with the labels of its stage.
    """

    output: Path
    config: dict[str, Any]
    stages: list[dict[str, Any]]
    rows: pd.DataFrame
    per_image: pd.DataFrame

    def folder(self, name: str) -> Path:
        """A stage's artifact folder."""
        return self.output / next(stage["folder"] for stage in self.stages if stage["name"] == name)

    def best(self) -> pd.DataFrame:
        """The rows in which each attack chose among its restarts by its own loss."""
        return self.rows[self.rows["restart"].astype(str) == "best"]


def gather(output: Path) -> Results:
    """Read everything that the study's plan names and that is done.

    Raises:
        FileNotFoundError: there is no plan, or nothing has been measured yet.
    """
    if not (output / "plan.json").is_file():
        raise FileNotFoundError(f"{output} is no study: plan.json is missing; run experiments.study first")
    config = yaml.safe_load((output / "study.yaml").read_text())
    stages = json.loads((output / "plan.json").read_text())
    done = [stage for stage in stages if (output / stage["folder"] / "stage.json").is_file()]
    measured = [stage for stage in done if stage["command"] == "measure"]
    if not measured:
        raise FileNotFoundError(
            f"{output}: nothing is measured yet; run experiments.study again without --only"
        )
    files = [output / stage["folder"] / "results.json" for stage in measured]
    rows = [row for file in files for row in json.loads(file.read_text())]
    per_image = [_labelled(output, stage) for stage in measured]
    table = pd.DataFrame(rows)
    table["strength"] = table["strength"].fillna("")
    return Results(output, config, done, table, pd.concat(per_image, ignore_index=True))


def _labelled(output: Path, stage: dict[str, Any]) -> pd.DataFrame:
    table = pd.read_csv(output / stage["folder"] / "per_image.csv", dtype={"restart": str})
    return table.assign(**{name: stage["labels"][name] for name in ("defence", "strength", "attack")})


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """The worst case of every defence and strength, over all attacks and oracles.

    An attack is worst if it identifies most. `false_security` says whether an adaptive attack beats every
    basic one beyond the intervals; it is empty where no adaptive attack was run.
    """
    lines = []
    for point, group in rows.groupby(POINT, sort=False):
        worst = group.loc[group["eval_acc"].idxmax()]
        lines.append(
            {
                **dict(zip(POINT, point, strict=True)),
                "auc": worst["auc"],
                "worst_attack": worst["attack"],
                "worst_oracle": worst["oracle"],
                "worst_eval_acc": worst["eval_acc"],
                "worst_eval_acc_lo": worst["eval_acc_lo"],
                "worst_eval_acc_hi": worst["eval_acc_hi"],
                "false_security": _false_security(group),
            }
        )
    return pd.DataFrame(lines)


def _false_security(group: pd.DataFrame) -> bool | None:
    basic, adaptive = group[group["adaptive"] == "none"], group[group["adaptive"] != "none"]
    if basic.empty or adaptive.empty:
        return None
    strongest = basic.loc[basic["eval_acc"].idxmax()]
    return bool((adaptive["eval_acc_lo"] > strongest["eval_acc_hi"]).any())


def compare(per_image: pd.DataFrame) -> pd.DataFrame:
    """Each defence against none, on the same images, attack and oracle: the paired change of the Eval Acc.

    `left` is the share of the undefended Eval Acc that is left; below 0.5, the defence at least halves it.
    `verdict` is 'lower' or 'higher' where the 95% interval excludes 0, else 'no difference shown'.
    """
    best = per_image[per_image["restart"] == "best"]
    undefended = best[best["defence"] == "none"].set_index(["attack", "oracle", "row"]).sort_index()
    lines = []
    for (*point, attack, oracle), group in best.groupby([*POINT, "attack", "oracle"], sort=False):
        if point[0] == "none" or (attack, oracle) not in undefended.index:
            continue
        before = undefended.loc[(attack, oracle)]["correct"].rename("undefended")
        pairs = group.set_index("row").join(before, how="inner")
        columns = [torch.tensor(pairs[name].to_numpy()) for name in ("correct", "undefended", "identity")]
        change, left = paired_difference(*columns), paired_ratio(*columns)
        verdict = "lower" if change.hi < 0 else "higher" if change.lo > 0 else "no difference shown"
        names = {
            **dict(zip(POINT, point, strict=True)),
            "attack": attack,
            "oracle": oracle,
            "n_images": len(pairs),
        }
        changes = {"change": change.value, "lo": change.lo, "hi": change.hi}
        shares = {"left": left.value, "left_lo": left.lo, "left_hi": left.hi}
        lines.append({**names, **changes, **shares, "verdict": verdict})
    return pd.DataFrame(lines)


@dataclass(frozen=True)
class Check:
    """Something that has to hold before what one oracle says means anything."""

    oracle: str
    text: str
    passed: bool


def check(rows: pd.DataFrame) -> list[Check]:
    """Whether the undefended attacks succeed, and whether the oracles know the clean images."""
    checks = []
    for oracle, group in rows.groupby("oracle", sort=False):
        undefended = group[group["defence"] == "none"]
        if undefended.empty:
            text = f"no attack on undefended images was judged by {oracle} yet"
            checks.append(Check(oracle, text, False))
            continue
        white_box = undefended[undefended["access"] == "white"]
        checks += [_succeeds(undefended.loc[undefended["eval_acc_lo"].idxmax()], BETTER_ATTACK)]
        checks += [_succeeds(row, WHITE_BOX) for _, row in white_box.iterrows()]
        clean, worst = group["clean_acc"].iloc[0], group["eval_acc_lo"].max()
        text = f"{oracle} identifies {percent(clean)} of the clean images; no attack is shown to exceed that"
        checks.append(Check(oracle, text, bool(clean >= worst)))
    return checks


def _succeeds(row: pd.Series, factor: float) -> Check:
    chance = 1 / row["n_identities"]
    times = row["eval_acc_lo"] / chance
    text = (
        f"{row['attack']} judged by {row['oracle']} identifies {percent(row['eval_acc'])} of the undefended "
        f"images; the lower bound is {times:.1f} times chance, needed are {factor:g}"
    )
    return Check(row["oracle"], text, bool(times >= factor))


def percent(value: float) -> str:
    """0.0859 -> '8.6%'."""
    return f"{100 * value:.1f}%"
