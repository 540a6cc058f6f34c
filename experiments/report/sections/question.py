"""The question, and the answer in a few words that are no stronger than the numbers."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from experiments.report.analysis import Analysis
from experiments.report.document import Block, Text
from experiments.report.formats import name_of, percent
from experiments.report.statistics.checks import Check, believed
from experiments.report.statistics.paired_tests import Outcomes
from experiments.report.statistics.ranking import alike, at_points

TITLE = "Question and answer"
PUBLISHED = True
QUESTION = (
    "How often can an attacker who intercepts the features tell who is in the picture, and what does "
    "preventing that cost?"
)
SCENARIOS = {
    "deployment": "Deployment: the cloud's finished network reads attributes from protected features.",
    "development": "Development: protected features train the cloud's network, which then reads raw ones.",
}
AFFORDABLE = 0.05
"""The loss of mean AUC up to which the answer prefers a stronger protection to a cheaper one."""
NAMED = 4
"""How many points an answer names before it counts the others."""


def blocks(analysis: Analysis) -> Iterator[Block]:
    row = analysis.best.iloc[0]
    yield Text(QUESTION)
    yield Text(answer(analysis.summary, analysis.protection, analysis.outcomes, analysis.checks), answer=True)
    yield Text(
        f"Measured on {row['n_images']} pictures of {row['n_identities']} people; data set {row['dataset']}, "
        f"network {row['network']}. {SCENARIOS[row['scenario']]}"
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
