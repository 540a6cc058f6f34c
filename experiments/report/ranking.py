"""Which defence leaks less: at equal utility, under the same attacks, on the same images."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import pandas as pd

from experiments.report.outcomes import NO_DIFFERENCE, Key, Outcomes, together
from experiments.report.results import POINT

Pair = tuple[pd.Series, pd.Series]


def attacked(summary: pd.DataFrame) -> pd.DataFrame:
    """Of the summary, the points that have a worst case."""
    return summary[summary["worst_attack"].notna()]


def versus(pairs: Iterable[Pair], outcomes: Outcomes) -> pd.DataFrame:
    """Pairs of lines of the summary as one family of tests (Holm), each under the attacks that both faced.

    `worst_attack`, `worst_oracle` and `worst_eval_acc` are those of the attack that finds most among these.
    `verdict` says of the first of each pair: its leak is 'lower', 'higher', or 'no difference shown'. Pairs
    that share no attack are left out.
    """
    shown, differences = [], []
    for first, second in pairs:
        if keys := outcomes.strongest_shared(first, second):
            one, other = (_side(*side, outcomes) for side in zip((first, second), keys, strict=True))
            shown.append(one | {f"other_{name}": value for name, value in other.items()})
            differences.append(outcomes.difference(*keys))
    return pd.concat([pd.DataFrame(shown), together(differences)], axis=1)


def _side(line: pd.Series, key: Key, outcomes: Outcomes) -> dict[str, object]:
    worst = {"worst_attack": key.trial, "worst_oracle": key.oracle, "worst_eval_acc": outcomes.rate(key)}
    return {name: line[name] for name in (*POINT, "auc")} | worst


def at_equal_utility(summary: pd.DataFrame) -> Iterator[Pair]:
    """Points of two defences of which each has its AUC within the other's interval."""
    lines = [line for _, line in attacked(summary).iterrows() if line["defence"] != "none"]
    for first, second in itertools.combinations(lines, 2):
        if first["defence"] != second["defence"] and _within(first, second) and _within(second, first):
            yield first, second


def _within(first: pd.Series, second: pd.Series) -> bool:
    return bool(second["auc_lo"] <= first["auc"] <= second["auc_hi"])


def ranking(summary: pd.DataFrame, outcomes: Outcomes) -> pd.DataFrame:
    """Every two defences at equal utility; see `versus`."""
    return versus(at_equal_utility(summary), outcomes)


def standings(table: pd.DataFrame) -> pd.DataFrame:
    """Of a ranking, a line for every two defences: how many pairs, and in how many each leaks less.

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
    """Of `standings`, what may be said."""
    found = table[table["better"] != ""]
    if found.empty:
        return "No defence is shown to be better than another."
    pairs = zip(found["better"], found["defence"], found["other_defence"], strict=True)
    shown = [f"{better} better than {({first, second} - {better}).pop()}" for better, first, second in pairs]
    return f"Shown: {', '.join(shown)}."


def strengths(summary: pd.DataFrame, outcomes: Outcomes) -> pd.DataFrame:
    """Every two strengths of one defence, in the order of the study; Holm within the defence."""
    tables = []
    for _, lines in attacked(summary).groupby("defence", sort=False):
        pairs = list(itertools.combinations([line for _, line in lines.iterrows()], 2))
        if pairs:
            tables.append(versus(pairs, outcomes))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def orders(table: pd.DataFrame) -> list[str]:
    """Of `strengths`, a sentence for each defence: do its strengths order privacy?"""
    if table.empty:
        return []
    return [_order(str(defence), lines) for defence, lines in table.groupby("defence", sort=False)]


def _order(defence: str, lines: pd.DataFrame) -> str:
    names = list(dict.fromkeys([*lines["strength"], *lines["other_strength"]]))
    shown = {
        (line["strength"], line["other_strength"]): "rises" if line["verdict"] == "lower" else "falls"
        for line in lines.to_dict("records")
        if line["verdict"] != NO_DIFFERENCE
    }
    if not shown:
        return f"{defence}: no difference is shown between any two of {', '.join(names)}."
    if len(directions := set(shown.values())) > 1:
        pairs = [f"{way} from {one} to {other}" for (one, other), way in shown.items()]
        return f"{defence}: its strengths do not order privacy: the leak {', '.join(pairs)}."
    way, unclear = directions.pop(), [pair for pair in itertools.pairwise(names) if pair not in shown]
    if not unclear:
        return f"{defence}: its strengths order privacy: the leak {way} at every step of {', '.join(names)}."
    gaps = "; ".join(f"{one} and {other}" for one, other in unclear)
    return (
        f"{defence}: its strengths order privacy in part: along {', '.join(names)} the leak {way}, shown for "
        f"{len(shown)} of {len(lines)} pairs, but {NO_DIFFERENCE} between the neighbours {gaps}."
    )


def alike(chosen: pd.Series, others: pd.DataFrame, outcomes: Outcomes) -> pd.DataFrame:
    """Of the other points, those whose leak is not shown to differ from the chosen one's."""
    rest = others[(others[POINT] != chosen[POINT]).any(axis=1)]
    table = versus([(line, chosen) for _, line in rest.iterrows()], outcomes)
    return at_points(rest, table[table["verdict"] == NO_DIFFERENCE])


def at_points(summary: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The lines of the summary whose points come first in a line of `versus`."""
    names = set() if table.empty else set(zip(table["defence"], table["strength"], strict=True))
    points = zip(summary["defence"], summary["strength"], strict=True)
    return summary[[point in names for point in points]]
