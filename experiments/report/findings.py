"""What a study found: its tables, whether it may be believed, and the answer in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.report.checks import Check, believed, check
from experiments.report.outcomes import Outcomes
from experiments.report.ranking import alike, at_points, attacked, ranking, strengths, versus
from experiments.report.results import Results, name_of, percent
from experiments.report.worst_case import adaptive_gains, compare, summarise

AFFORDABLE = 0.05
"""The loss of mean AUC up to which the answer prefers a stronger protection to a cheaper one."""
NAMED = 4
"""How many points an answer names before it counts the others."""


@dataclass(frozen=True)
class Findings:
    """A study's results and what follows from them.

    Attributes:
        best: `Results.best`.
        gains: every adaptive attack against the strongest basic one.
        summary: the worst case of every defence and strength.
        protection: each point against the undefended one, under the attacks that both faced.
        comparison: each against none, attack by attack, on the same images.
        ranking: defences against each other at equal utility.
        strengths: the strengths of each defence against each other.
        checks: what has to hold for the rest to mean anything.
        answer: the finding in words.
    """

    results: Results
    best: pd.DataFrame
    gains: pd.DataFrame
    summary: pd.DataFrame
    protection: pd.DataFrame
    comparison: pd.DataFrame
    ranking: pd.DataFrame
    strengths: pd.DataFrame
    checks: list[Check]
    answer: str

    @classmethod
    def of(cls, results: Results) -> Findings:
        best, outcomes, checks = results.best(), Outcomes(results.per_image), check(results.best())
        gains = adaptive_gains(best, outcomes)
        summary = summarise(best, gains)
        protection = against_none(summary, outcomes)
        return cls(
            results=results,
            best=best,
            gains=gains,
            summary=summary,
            protection=protection,
            comparison=compare(best, outcomes),
            ranking=ranking(summary, outcomes),
            strengths=strengths(summary, outcomes),
            checks=checks,
            answer=answer(summary, protection, outcomes, checks),
        )

    @property
    def judge(self) -> str:
        """Of the oracles that may be believed, the one that finds most undefended images."""
        rows = self.best[self.best["oracle"].isin(self.judges)]
        undefended = rows[rows["defence"] == "none"]
        found = undefended if len(undefended) else rows
        return str(found.loc[found["eval_acc"].idxmax(), "oracle"])

    @property
    def judges(self) -> list[str]:
        """The oracles that may be believed; all of them where none may; none before anything is judged."""
        oracles = list(dict.fromkeys(item.oracle for item in self.checks))
        return [name for name in oracles if name in believed(self.checks)] or oracles


def against_none(summary: pd.DataFrame, outcomes: Outcomes) -> pd.DataFrame:
    """Each point against the undefended one, under the attacks that both faced; see `ranking.versus`."""
    lines = [line for _, line in attacked(summary).iterrows()]
    undefended = [line for line in lines if line["defence"] == "none"]
    return versus(
        [(line, undefended[0]) for line in lines if undefended and line["defence"] != "none"], outcomes
    )


def answer(summary: pd.DataFrame, protection: pd.DataFrame, outcomes: Outcomes, checks: list[Check]) -> str:
    """The study's finding in a few words, no stronger than the numbers.

    One oracle that passes all its checks is enough: a weak one beside it cannot lower the worst case.
    """
    if not checks:
        return "No attack has been judged yet."
    if not believed(checks):
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
    lower = _shown_lower(summary, protection)
    if lower.empty:
        return f"{leak}, and no defence was shown to lower that. {_scope(summary)}"
    affordable = lower[lower["auc"] >= undefended["auc"] - AFFORDABLE]
    chosen = lower if affordable.empty else affordable
    point = chosen.loc[chosen["worst_eval_acc"].idxmin()]
    found = (
        f"{leak}; under {name_of(point)} the strongest one ({point['worst_attack']}) identifies "
        f"{_with_interval(point)}, at a mean AUC of {point['auc']:.3f} instead of {undefended['auc']:.3f}"
    )
    costly = f", and no point that costs less than {AFFORDABLE} was shown to help" if affordable.empty else ""
    return f"{found}{costly}. {_equals(point, chosen, outcomes)}{_scope(summary)}"


def _with_interval(line: pd.Series) -> str:
    low, high = percent(line["worst_eval_acc_lo"]), percent(line["worst_eval_acc_hi"])
    return f"{percent(line['worst_eval_acc'])} (95% interval {low} to {high})"


def _shown_lower(summary: pd.DataFrame, protection: pd.DataFrame) -> pd.DataFrame:
    """Points that faced all attacks that matter, and whose leak is shown to be below the undefended one."""
    if protection.empty:
        return summary.iloc[:0]
    lower = at_points(summary, protection[protection["verdict"] == "lower"])
    return lower[lower["not_faced"] == ""]


def _equals(point: pd.Series, others: pd.DataFrame, outcomes: Outcomes) -> str:
    """Refuses to call a point the best of those that overlap."""
    equals = alike(point, others, outcomes)
    if equals.empty:
        return ""
    useful = equals.loc[equals["auc"].idxmax()]
    shown = f"{name_of(useful)} ({percent(useful['worst_eval_acc'])} at a mean AUC of {useful['auc']:.3f})"
    if len(equals) > 1:
        shown = f"{len(equals)} other points, of which {shown} is the most useful"
    return f"No difference is shown between its leak and that of {shown}. "


def _scope(summary: pd.DataFrame) -> str:
    """How far the attacks went."""
    tried = summary["false_security"].notna()
    if not tried.any():
        return "No attacker adapted to a defence here; one who does may find more."
    deceived = [name_of(line) for _, line in summary[summary["false_security"].eq(True)].iterrows()]
    if not deceived:
        return "No adaptive attack was shown to find more than the basic ones."
    more = f" and {len(deceived) - NAMED} more" if len(deceived) > NAMED else ""
    return f"Basic attacks alone would have given false security for {', '.join(deceived[:NAMED])}{more}."


def without_folders(config: Any) -> Any:
    """A configuration with paths cut down to their last part: folders are nobody else's business."""
    if isinstance(config, dict):
        return {name: without_folders(value) for name, value in config.items()}
    if isinstance(config, list):
        return [without_folders(value) for value in config]
    is_path = isinstance(config, str) and "/" in config and not config.startswith("${")
    return Path(config).name if is_path else config
