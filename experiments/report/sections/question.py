"""The question, and the answer on one card, no stronger than the numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from experiments.report import names
from experiments.report.analysis import Analysis
from experiments.report.document import Block, Card, Fact, Figures, Text
from experiments.report.formats import attacks_of, name_of
from experiments.report.plotting import Figure
from experiments.report.statistics.checks import Check, believed
from experiments.report.statistics.floor import ABOVE, NEAR, NOT_SHOWN, REACHED, leaves_room
from experiments.report.statistics.paired_tests import NO_DIFFERENCE, Outcomes
from experiments.report.statistics.ranking import alike, at_points, attacked
from experiments.report.tradeoff import draw_worst_cases, in_words

TITLE = "Question and answer"
PUBLISHED = True
QUESTION = (
    "How often can an attacker who intercepts the features tell who is in the picture, and what does it "
    "cost to prevent that?"
)
SCENARIOS = {
    "deployment": "Deployment: the cloud's finished network reads attributes from protected features.",
    "development": "Development: protected features train the cloud's network. It then reads raw features.",
}
CAPTION = "The worst case of every defence, with 95% intervals. The ideal corner is bottom right."
AFFORDABLE = 0.05
"""The loss of mean AUC up to which the answer prefers a stronger protection to a cheaper one."""
PLACES = (REACHED, NEAR, ABOVE)
NAMED = 3
"""How many points a fact names before it counts the others."""


def blocks(analysis: Analysis) -> Iterator[Block]:
    row = analysis.best.iloc[0]
    yield answer(analysis.summary, analysis.protection, analysis.outcomes, analysis.checks)
    if analysis.judges:
        yield Figures([_worst_cases(analysis)])
    yield Text(
        f"{QUESTION} Measured on {row['n_images']} pictures; each is sought among {row['n_identities']} "
        f"people. Data set: {row['dataset']}. Network: {row['network']}. {SCENARIOS[row['scenario']]}"
    )


def answer(summary: pd.DataFrame, protection: pd.DataFrame, outcomes: Outcomes, checks: list[Check]) -> Card:
    """What to do, and why, as a study can say it.

    One oracle that passes all its checks is enough: a weak one beside it cannot lower the worst case.
    """
    if not checks:
        return Card("No attack has been judged yet", [])
    trust = Fact("Can this be believed?", _trust(checks))
    if not believed(checks):
        return Card("The comparison means nothing yet", [trust])
    undefended = summary[summary["defence"] == "none"].iloc[0]
    lower = _shown_lower(summary, protection)
    faced = lower[_comparable(lower)]
    if faced.empty:
        bare = (
            f"The {_attack(undefended)} names the right person in {_in_a_hundred(undefended)} of a hundred "
            "pictures."
        )
        facts = [Fact("Without a defence", bare), *_floor(undefended), trust]
        facts += [Fact("Attackers who adapt", _adapting(summary)), *_left_out(lower)]
        facts += [*_acquainted(lower), *_leaked(undefended), *_unsent(summary, undefended)]
        if not leaves_room(undefended, "worst_eval_acc"):
            return Card("Not shown: undefended, the attacks find too little for a defence to help", facts)
        return Card("No defence was shown to help", facts)
    cheap = summary["auc"] >= undefended["auc"] - AFFORDABLE
    affordable = faced[cheap[faced.index]]
    chosen = faced if affordable.empty else affordable
    # Of those that leak equally little the most useful.
    point = chosen.sort_values(["worst_eval_acc", "auc"], ascending=[True, False]).iloc[0]
    left_out = lower[lower["worst_eval_acc"] <= point["worst_eval_acc"]]
    rivals = attacked(summary[_comparable(summary) & (cheap | affordable.empty)])
    facts = [
        Fact("People named in a hundred pictures", _leak(undefended, point)),
        *_floor(point),
        *_proved(point),
        Fact("What the cloud loses", _cost(undefended, point)),
        *_unsent(summary, point),
        Fact("Can this be believed?", _trust(checks)),
        Fact("Attackers who adapt", _adapting(summary, point)),
        Fact("As good, for all this study shows", _equals(point, rivals, lower, outcomes)),
        *_left_out(left_out),
        *_acquainted(left_out),
        *_leaked(undefended, point),
    ]
    costly = " if its cost is acceptable" if affordable.empty else ""
    return Card(f"Use {name_of(point)}{costly}", facts)


def _comparable(points: pd.DataFrame) -> pd.Series:
    """Which points faced every attack that is a worst case, and have an AUC that compares."""
    return (points["not_faced"] == "") & ~points["acquainted"]


def _unsent(summary: pd.DataFrame, point: pd.Series) -> list[Fact]:
    """Points from which no feature leaves the device, where they are of as much use: they leak nothing."""
    useful = summary[summary["worst_attack"].isna() & (summary["auc"] >= point["auc"])]
    told = [f"{name_of(line)} (AUC {line['auc']:.3f})" for _, line in useful.iterrows()]
    text = (
        f"{_some(told)}: no private picture is protected or sent, so nothing leaks. The AUC is at least as "
        "high."
    )
    return [Fact("Better still, without any private picture", text)] if told else []


def _acquainted(lower: pd.DataFrame) -> list[Fact]:
    """What may be better, or not: its f learned from the people on whom it is measured."""
    known = lower[lower["acquainted"]].sort_values("worst_eval_acc")
    if known.empty:
        return []
    why = "trained on the people on whom the AUC is measured, so that AUC does not compare"
    return [Fact("Left out, since they cannot be compared", f"{_some(_with_figures(known))}: {why}.")]


def _leak(undefended: pd.Series, point: pd.Series) -> str:
    return (
        f"{_in_a_hundred(undefended)} without a defence ({_attack(undefended)}); {_in_a_hundred(point)} with "
        f"it ({_attack(point)}). Each figure is of the strongest attack."
    )


def _leaked(*points: pd.Series) -> list[Fact]:
    """What attackers find who were given private pictures, which counts for nothing else on the card."""
    told = [
        f"{_in_a_hundred(line, 'leaked')} under {name_of(line)} ({names.attack(line['leaked_attack'])})"
        for line in points
        if not pd.isna(line.get("leaked_attack"))
    ]
    text = f"Of a hundred: {', '.join(told)}. This is outside the threat model and does not count above."
    return [Fact("With leaked pictures", text)] if told else []


def _floor(point: pd.Series) -> list[Fact]:
    """What no defence can prevent that keeps the answers; nothing where that was not measured."""
    if pd.isna(point.get("floor", math.nan)):
        return []
    share, low, high = (100 * point[f"floor{bound}"] for bound in ("", "_lo", "_hi"))
    verdict = f" The worst case is {point['against_floor']}." if point["against_floor"] in PLACES else ""
    text = (
        f"{share:.1f} ({low:.1f} to {high:.1f}) in a hundred, without any picture. No defence that keeps the "
        f"answers can prevent that.{verdict}"
    )
    return [Fact("Named by the cloud's answers alone", text)]


def _proved(point: pd.Series) -> list[Fact]:
    """What no attacker can exceed; nothing where nothing is proved, or no less than everybody."""
    share = point.get("proved", math.nan)
    if pd.isna(share) or share >= 1:
        return []
    text = (
        f"Nobody can name more than {100 * share:.1f} in a hundred from the features of one picture at a "
        "time, whatever they try."
    )
    return [Fact("Proved", text)]


def _in_a_hundred(line: pd.Series, case: str = "worst") -> str:
    """'70 (63 to 75)': of a hundred pictures, with the interval."""
    share, low, high = (100 * line[f"{case}_eval_acc{bound}"] for bound in ("", "_lo", "_hi"))
    digits = 0 if share >= 10 else 1
    return f"{share:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _attack(line: pd.Series) -> str:
    return names.attack(line["worst_attack"])


def _cost(undefended: pd.Series, point: pd.Series) -> str:
    lost = undefended["auc"] - point["auc"]
    told = (
        f"{lost:.3f} of its mean AUC: {point['auc']:.3f} instead of {undefended['auc']:.3f}. An AUC of 1 "
        "reads every attribute; 0.5 is guessing."
    )
    before, after = (line.get("balanced_accuracy", math.nan) for line in (undefended, point))
    if pd.isna(before) or pd.isna(after):
        return told
    return (
        f"{told} At its own threshold, its balanced accuracy is {after:.3f} instead of {before:.3f}. A cloud "
        "that may set new thresholds recovers any loss that is only a shift."
    )


def _trust(checks: list[Check]) -> str:
    """Yes or no, and who says so; a judge who fails beside one who passes is a note."""
    good = believed(checks)
    failed = [item for item in checks if not item.passed]
    if not good:
        return (
            f"No: {len(failed)} of {len(checks)} checks failed. A low identification rate may only show that "
            "the attack is weak."
        )
    passed = " and ".join(names.judge(name) for name in sorted(good))
    left_out = sorted({names.judge(item.oracle) for item in failed})
    told = f" Failed a check and cannot tell: {' and '.join(left_out)}." if left_out else ""
    return f"Yes, judged by {passed}.{told}"


def _adapting(summary: pd.DataFrame, point: pd.Series | None = None) -> str:
    """How far the attacks went, first of all at the recommended point."""
    if not summary["false_security"].notna().any():
        return "They were not tried. An attacker who knows the defence may find more."
    mine = None if point is None else point["false_security"]
    deceived = [name_of(line) for _, line in summary[summary["false_security"].eq(True)].iterrows()]
    told = {
        True: "They find more than basic attacks do here. The figures above count them.",
        False: "They were not shown to find more than basic attacks do here.",
        NOT_SHOWN: "Not shown: they find too little to tell, even undefended.",
        None: "",
    }[None if mine is None or pd.isna(mine) else mine]
    others = [name for name in deceived if point is None or name != name_of(point)]
    if others:
        return f"{told} Basic attacks alone would give false security for {_some(others)}.".strip()
    if not told and summary["false_security"].dropna().eq(NOT_SHOWN).all():
        return "Not shown: they find too little to tell, even undefended."
    return told or "They were not shown to find more than basic attacks do."


def _some(points: list[str]) -> str:
    more = f" and {len(points) - NAMED} more" if len(points) > NAMED else ""
    return f"{', '.join(points[:NAMED])}{more}"


def _shown_lower(summary: pd.DataFrame, protection: pd.DataFrame) -> pd.DataFrame:
    """Points whose leak is shown to be below the undefended one."""
    if protection.empty:
        return summary.iloc[:0]
    return at_points(summary, protection[protection["verdict"] == "lower"])


def _equals(point: pd.Series, rivals: pd.DataFrame, lower: pd.DataFrame, outcomes: Outcomes) -> str:
    """Refuses to call a point the best of those that overlap, of which some may not be `lower` than none."""
    equals = alike(point, rivals[rivals["defence"] != "none"], outcomes)
    if equals.empty:
        return "No other point that costs as little and faced the same attacks."
    equals = equals.sort_values("auc", ascending=False)
    unsure = ~equals.index.isin(lower.index)
    note = f" ({', '.join(map(name_of, _lines(equals[unsure])))} not shown to help)" if unsure.any() else ""
    return f"{_some(_with_figures(equals))}: {NO_DIFFERENCE}{note}."


def _lines(points: pd.DataFrame) -> list[pd.Series]:
    return [line for _, line in points.iterrows()]


def _left_out(lower: pd.DataFrame) -> list[Fact]:
    """What may be better than the answer, which is one of the points that faced all attacks that matter."""
    escaped = lower[(lower["not_faced"] != "") & ~lower["acquainted"]].sort_values("worst_eval_acc")
    if escaped.empty:
        return []
    missing = sorted({name for line in escaped["not_faced"] for name in line.split(", ")})
    why = f"not attacked by {attacks_of(missing)}, the strongest elsewhere"
    return [Fact("Left out, so that they may be better", f"{_some(_with_figures(escaped))}: {why}.")]


def _with_figures(points: pd.DataFrame) -> list[str]:
    return [
        f"{name_of(line)} ({100 * line['worst_eval_acc']:.0f} in a hundred, AUC {line['auc']:.3f})"
        for _, line in points.iterrows()
    ]


def _worst_cases(analysis: Analysis) -> Figure:
    summary, path = analysis.summary, analysis.figures / "worst-case.svg"
    draw_worst_cases(path, summary, analysis.reference)
    return Figure(path, CAPTION, f"Worst case against utility. {in_words(summary, 'worst_eval_acc')}")
