"""What the strongest attack leaves of every defence, against its utility."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from experiments.evaluation.combining import FUSION, UNION
from experiments.evaluation.judge import OPEN_SET
from experiments.report import names
from experiments.report.analysis import Analysis
from experiments.report.document import Block, Table, Text
from experiments.report.formats import (
    attack_of,
    attacks_of,
    decimal,
    filled,
    intervals,
    judges,
    named,
    percent,
    percentage,
    points_of_change,
)
from experiments.report.results import POINT
from experiments.report.statistics.open_set import of_worst

TITLE = "The worst case of every defence"
PUBLISHED = True
WORST = (
    "For each defence, the table shows the attack and the judge that find most, among attackers who have "
    "only public pictures. What leaked private pictures are worth has its own section. Identified (Eval "
    "Acc): the share of the pictures whose person is named, by a judge who knows the private people and sees "
    "the attack's image, or by the attack itself where it compares features with photographs. Mean AUC: how "
    "well the attributes can still be read from the features; 0.5 is guessing. "
    "Brackets hold 95% intervals. The worst case is the largest of several measurements, so it is a little "
    "too high, and the more so the more attacks were run. An attack that trains over several epochs counts "
    "with its best epoch. The attacker could not know which one that is, so the figure is an upper bound. "
    "'Change against undefended' compares what the strongest of the attacks that both points faced finds at "
    "each, in percentage points, on the same images. For the point that leaks less by these attacks, the "
    "strongest of all attacks that it faced counts."
)
DECISIONS = (
    "Balanced accuracy: how often f decides right at its own threshold, counting pictures with an attribute "
    "and without it equally. Decisions turned: the share of f's decisions that protection turns into their "
    "opposite. The AUC sees neither where answers are only shifted."
)
SECONDS = (
    "Seconds an image: the time that the defence's stage took, including its start and any training, divided "
    "by the number of images that it protected. Stages of a study may run side by side."
)
VERIFIED = (
    "Verified at 1% (0.1%): the share that this worst attack makes pass for the right person, at a threshold "
    "that 1% (0.1%) of the wrong people pass. Not found at 1%: the share of its searches that miss the right "
    "person, at a threshold at which 1% of the searches for people who are not there find somebody. A judge "
    "compares reconstructions with photographs. Where features are compared with photographs, the score says "
    "how much likelier the feature is if it is of this person than if it is of anybody else."
)
NOT_FACED = (
    "Some points (hollow in the figure) did not face an attack that is the worst case of another point. They "
    "are not ranked by their worst case, and the answer leaves them out."
)
ACQUAINTED = (
    "trained Enc and f on private-train images of the very people on whom the mean AUC is measured. Their "
    "mean AUC may be above the undefended one. It does not compare with that of defences that never saw "
    "these people."
)
TOGETHER = {
    FUSION: "fusion of all images",
    UNION: "union of all attacks",
}
TOGETHER_MEANS = (
    "Fusion: the judge sees the mean embedding of all reconstructions of an image. An attacker can compute "
    "it. Union: an image counts if any of the attacks, in any restart, has shown the right person to the "
    "judge. Nobody knows which of them is right, so the union bounds these attacks together and is no worst "
    "case."
)
FALSE_SECURITY = (
    "False security: an attacker who adapts to the defence finds more than the strongest basic attack does. "
    "The interval of the difference excludes 0. The difference is tested on the same images and corrected "
    "for the number of adaptive attacks."
)


def blocks(analysis: Analysis) -> Iterator[Block]:
    summary = analysis.summary
    together = _together(analysis.best)
    costs = analysis.results.seconds_an_image()
    open_set = of_worst(summary, analysis.best)
    table = _readable(summary, open_set, analysis.protection, together, costs)
    yield Table(table, "summary", summary.join(open_set.add_prefix("worst_")))
    told = {SECONDS: costs["seconds"].notna().any(), VERIFIED: open_set.notna().any(axis=None)}
    yield Text(" ".join([WORST, *(text for text, is_told in told.items() if is_told)]))
    if _decisions(summary):
        yield Text(DECISIONS)
    if len(together):
        yield Text(TOGETHER_MEANS)
    if (summary["not_faced"] != "").any():
        yield Text(NOT_FACED)
    if acquainted := analysis.results.acquainted:
        yield Text(f"{', '.join(map(names.defence, acquainted))} {ACQUAINTED}")
    if summary["false_security"].notna().any():
        yield Text(FALSE_SECURITY)


def _together(best: pd.DataFrame) -> pd.DataFrame:
    """Of each point what all attacks find together, by the judge who sees most of it: a column each of those
    that were asked for."""
    rows = best[best["attack"].isin(TOGETHER) & best["eval_acc"].notna()]
    if rows.empty:
        return pd.DataFrame()
    most = rows.loc[rows.groupby([*POINT, "attack"], sort=False)["eval_acc"].idxmax()]
    shown = most[[*POINT, "attack"]].assign(found=intervals(most, "eval_acc", percent))
    wide = shown.pivot(index=POINT, columns="attack", values="found").reset_index()
    return named(wide).join(wide.drop(columns=POINT).rename(columns=TOGETHER))


def _readable(
    summary: pd.DataFrame,
    open_set: pd.DataFrame,
    protection: pd.DataFrame,
    together: pd.DataFrame,
    costs: pd.DataFrame,
) -> pd.DataFrame:
    """The summary, each worst case against the undefended one, and what attacks find together."""
    table = named(summary).assign(
        **{
            "mean AUC": intervals(summary, "auc", decimal),
            "AUC lost": _lost(summary),
            **_decisions(summary),
            "identified by the worst attack": intervals(summary, "worst_eval_acc", percent),
            "worst attack": [_worst(line) for line in summary.to_dict("records")],
            "judge": judges(summary["worst_oracle"]),
            **{column.title: intervals(open_set, column.name, percent) for column in OPEN_SET},
        }
    )
    if len(protection):
        verdicts = named(protection).assign(
            **{"change against undefended": points_of_change(protection), "leak": protection["verdict"]}
        )
        table = table.merge(verdicts, on="defence", how="left")
    if len(together):
        table = table.merge(together, on="defence", how="left")
    if "floor" in summary:
        table["f's answers alone"] = intervals(summary, "floor", percent)
        table["worst case against them"] = summary["against_floor"]
    table["seconds an image"] = [
        "" if pd.isna(seconds) else f"{seconds:.2g}"
        for seconds in summary[POINT].merge(costs, on=POINT, how="left")["seconds"]
    ]
    if (summary["not_faced"] != "").any():
        table["not attacked by"] = [attacks_of(listed.split(", ")) for listed in summary["not_faced"]]
    table["false security"] = summary["false_security"].replace({True: "yes", False: "no"})
    return filled(table)


def _decisions(summary: pd.DataFrame) -> dict[str, list[str]]:
    """What becomes of f's decisions, where that was measured."""
    if "turned" not in summary or summary["turned"].isna().all():
        return {}
    return {
        "balanced accuracy": intervals(summary, "balanced_accuracy", decimal),
        "decisions turned": [percentage(share) for share in summary["turned"].astype(float)],
    }


def _lost(summary: pd.DataFrame) -> list[str]:
    """What each point costs against no defence."""
    undefended = summary.loc[summary["defence"] == "none", "auc"]
    if undefended.empty:
        return [""] * len(summary)
    costs = undefended.iloc[0] - summary["auc"]
    return [
        decimal(cost) if defence != "none" else ""
        for cost, defence in zip(costs, summary["defence"], strict=True)
    ]


def _worst(line: dict[str, object]) -> str:
    if pd.isna(line["worst_attack"]):
        return "nothing to attack"
    return attack_of({"attack": line["worst_attack"], "epoch": line["worst_epoch"]})
