"""What a study found: its tables, whether it may be believed, and the answer in words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.tables import Check, Results, check, compare, percent, summarise

AFFORDABLE = 0.05
"""The loss of mean AUC up to which the answer prefers a stronger protection to a cheaper one."""


@dataclass(frozen=True)
class Findings:
    """A study's results and what follows from them.

    Attributes:
        summary: the worst case of every defence and strength.
        comparison: each against none, on the same images.
        checks: what has to hold for the rest to mean anything.
    """

    results: Results
    summary: pd.DataFrame
    comparison: pd.DataFrame
    checks: list[Check]

    @classmethod
    def of(cls, results: Results) -> Findings:
        best = results.best()
        return cls(results, summarise(best), compare(results.per_image), check(best))

    @property
    def answer(self) -> str:
        """See `answer`."""
        return answer(self.summary, self.comparison, self.checks)


def answer(summary: pd.DataFrame, comparison: pd.DataFrame, checks: list[Check]) -> str:
    """The study's finding in one sentence, no stronger than the numbers.

    One oracle that passes all its checks is enough: a weak one beside it cannot lower the worst case.
    """
    if not {item.oracle for item in checks} - {item.oracle for item in checks if not item.passed}:
        failed = sum(not item.passed for item in checks)
        return (
            f"The comparison means nothing yet: {failed} of {len(checks)} checks failed, "
            "so a low share of identified images may only show a weak attack."
        )
    undefended = summary[summary["defence"] == "none"].iloc[0]
    leak = (
        f"The strongest attack ({undefended['worst_attack']}, judged by {undefended['worst_oracle']}) "
        f"identifies {_with_interval(undefended)} of the undefended images"
    )
    lower = _shown_lower(summary, comparison, undefended)
    if lower.empty:
        return f"{leak}, and no defence was shown to lower that."
    affordable = lower[lower["auc"] >= undefended["auc"] - AFFORDABLE]
    chosen = lower if affordable.empty else affordable
    point = chosen.loc[chosen["worst_eval_acc"].idxmin()]
    name = " ".join(filter(None, (point["defence"], point["strength"])))
    return (
        f"{leak}; under {name} the strongest one ({point['worst_attack']}) identifies "
        f"{_with_interval(point)}, at a mean AUC of {point['auc']:.3f} instead of {undefended['auc']:.3f}"
        + (
            f", and no point that costs less than {AFFORDABLE} was shown to help."
            if affordable.empty
            else "."
        )
    )


def _with_interval(line: pd.Series) -> str:
    low, high = percent(line["worst_eval_acc_lo"]), percent(line["worst_eval_acc_hi"])
    return f"{percent(line['worst_eval_acc'])} (95% interval {low} to {high})"


def _shown_lower(summary: pd.DataFrame, comparison: pd.DataFrame, undefended: pd.Series) -> pd.DataFrame:
    """Points that lower the worst case, and on which the undefended worst attack is shown to do worse."""
    if comparison.empty:
        return summary.iloc[:0]
    proof = comparison[
        (comparison["attack"] == undefended["worst_attack"])
        & (comparison["oracle"] == undefended["worst_oracle"])
        & (comparison["verdict"] == "lower")
    ]
    proven = set(zip(proof["defence"], proof["strength"], strict=True))
    lower = summary[summary["worst_eval_acc"] < undefended["worst_eval_acc"]]
    points = zip(lower["defence"], lower["strength"], strict=True)
    return lower[[point in proven for point in points]]


def run_time(results: Results) -> pd.DataFrame:
    """Seconds and megabytes of every stage."""
    folders = [results.output / stage["folder"] for stage in results.stages]
    markers = [json.loads((folder / "stage.json").read_text()) for folder in folders]
    return pd.DataFrame(markers)[["stage", "seconds", "megabytes"]]


def without_folders(config: Any) -> Any:
    """A configuration with absolute paths cut down to their last part: folders are nobody else's business."""
    if isinstance(config, dict):
        return {name: without_folders(value) for name, value in config.items()}
    if isinstance(config, list):
        return [without_folders(value) for value in config]
    is_path = isinstance(config, str) and Path(config).is_absolute()
    return Path(config).name if is_path else config
