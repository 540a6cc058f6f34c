"""Which of two defences leaks less at equal utility, and whether a defence's strengths order its privacy."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pandas as pd

from experiments.report import names
from experiments.report.analysis import Analysis
from experiments.report.document import Block, Folded, Items, Table, Text, folded_if_long
from experiments.report.formats import decimal, named, p_value, percent, points_of_change
from experiments.report.statistics.paired_tests import NO_DIFFERENCE

TITLE = "Which defence leaks less at equal utility?"
PUBLISHED = True
RANKING = (
    "Two defences are compared where the mean AUC of each lies within the other's 95% interval. They are "
    "compared by the strongest of the attacks that both faced, on the same images, with each person's images "
    "kept together. The one that leaks less by these attacks has to stand by all attacks that it faced. All "
    "tests are corrected for their number (Holm), so the chance of one false difference among them is at "
    "most 5%. Results that overlap are not ranked. One defence is called better than another only by a pair "
    "in which it leaks less at a mean AUC at least as high, because a defence that leaks less may also be "
    "less useful."
)
ORDER = (
    "Do the strengths of a defence order its privacy? Each is compared with each other one, corrected (Holm) "
    "within the defence:"
)


def blocks(analysis: Analysis) -> Iterator[Block]:
    ranking, strengths = analysis.ranking, analysis.strengths
    if len(ranking):
        results = standings(ranking)
        yield Text(RANKING)
        yield Text(shown_better(results))
        yield folded_if_long(
            "Every pair of defences", Table(readable_standings(results), "standings", results)
        )
        yield Folded(
            "Every pair of points at equal utility", [Table(readable_pairs(ranking), "ranking", ranking)]
        )
    if len(strengths):
        pairs = Table(readable_pairs(strengths), "strengths", strengths)
        yield Text(ORDER)
        yield Items(orders(strengths))
        yield Folded("The strengths of each defence, compared with each other", [pairs])


def readable_standings(table: pd.DataFrame) -> pd.DataFrame:
    """A line for every two defences."""
    undecided = table["pairs"] - table["less"] - table["more"]
    return pd.DataFrame(
        {
            "defence": table["defence"].map(names.defence),
            "and": table["other_defence"].map(names.defence),
            "pairs at equal utility": table["pairs"],
            "the first leaks less in": table["less"],
            "the second in": table["more"],
            "no difference shown in": undecided,
            "shown to be better": table["better"].map(names.defence).replace("", "neither"),
        }
    )


def readable_pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Two points in a line, from `versus`."""
    other = table[["other_defence", "other_strength"]].set_axis(["defence", "strength"], axis=1)
    return named(table).assign(
        **{
            "mean AUC": table["auc"].map(decimal),
            "identified": table["worst_eval_acc"].map(percent),
            "the other": named(other)["defence"],
            "its mean AUC": table["other_auc"].map(decimal),
            "it identified": table["other_worst_eval_acc"].map(percent),
            "change": points_of_change(table),
            "p (Holm)": table["p_holm"].map(p_value),
            "the first one's leak": table["verdict"],
        }
    )


def standings(table: pd.DataFrame) -> pd.DataFrame:
    """The standings of a ranking: for every two defences, how many pairs, and in how many each leaks less.

    One is `better` only by a pair in which it leaks less at an AUC at least as high, and if the other has no
    such pair: within the intervals, what leaks less may also be the less useful. Else it is empty.
    """
    if table.empty:
        return pd.DataFrame()
    groups = table.groupby(["defence", "other_defence"], sort=False)
    return pd.DataFrame([_standing(first, second, lines) for (first, second), lines in groups])


def _standing(first: str, second: str, lines: pd.DataFrame) -> dict[str, object]:
    less, more = lines["verdict"] == "lower", lines["verdict"] == "higher"
    better = bool((less & (lines["auc"] >= lines["other_auc"])).any())
    worse = bool((more & (lines["auc"] <= lines["other_auc"])).any())
    counts = {"pairs": len(lines), "less": int(less.sum()), "more": int(more.sum())}
    winner = "" if better == worse else first if better else second
    return {"defence": first, "other_defence": second, **counts, "better": winner}


def shown_better(table: pd.DataFrame) -> str:
    """What may be said of `standings`."""
    found = table[table["better"] != ""]
    if found.empty:
        return "No defence is shown to be better than another."
    beaten: dict[str, list[str]] = {}
    for better, *both in found[["better", "defence", "other_defence"]].itertuples(index=False):
        beaten.setdefault(better, []).extend(names.defence(name) for name in both if name != better)
    shown = [f"{names.defence(better)} is better than {', '.join(worse)}" for better, worse in beaten.items()]
    return f"Shown: {'; '.join(shown)}."


def orders(table: pd.DataFrame) -> list[str]:
    """A sentence for each defence in `strengths`: do its strengths order privacy?"""
    if table.empty:
        return []
    return [_order(str(defence), lines) for defence, lines in table.groupby("defence", sort=False)]


def _order(defence: str, lines: pd.DataFrame) -> str:
    defence = names.defence(defence)
    both = lines[["strength", "other_strength"]].map(names.strength)
    strengths = list(dict.fromkeys([*both["strength"], *both["other_strength"]]))
    shown = {
        pair: "rises" if verdict == "lower" else "falls"
        for pair, verdict in zip(both.itertuples(index=False, name=None), lines["verdict"], strict=True)
        if verdict != NO_DIFFERENCE
    }
    if not shown:
        return f"{defence}: no difference is shown between any two of {', '.join(strengths)}."
    if len(directions := set(shown.values())) > 1:
        pairs = [f"{way} from {one} to {other}" for (one, other), way in shown.items()]
        return f"{defence}: its strengths do not order privacy: the leak {', '.join(pairs)}."
    way, unclear = directions.pop(), [pair for pair in itertools.pairwise(strengths) if pair not in shown]
    if not unclear:
        return (
            f"{defence}: its strengths order privacy: the leak {way} at every step of {', '.join(strengths)}."
        )
    gaps = "; ".join(f"{one} and {other}" for one, other in unclear)
    return (
        f"{defence}: its strengths order privacy in part. Along {', '.join(strengths)} the leak {way}. This "
        f"is shown for {len(shown)} of {len(lines)} pairs; {NO_DIFFERENCE} between the neighbours {gaps}."
    )
