"""Which defence leaks less: at equal utility, under the same attacks, on the same images."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import pandas as pd

from experiments.report.results import POINT
from experiments.report.statistics.floor import leaves_room, shown_with
from experiments.report.statistics.paired_tests import NO_DIFFERENCE, Key, Outcomes, together

Pair = tuple[pd.Series, pd.Series]


def attacked(summary: pd.DataFrame) -> pd.DataFrame:
    """The points of the summary that have a worst case."""
    return summary[summary["worst_attack"].notna()]


def versus(pairs: Iterable[Pair], outcomes: Outcomes) -> pd.DataFrame:
    """Pairs of lines of the summary as one family of tests (Holm), each under the attacks that both faced.

    `worst_attack`, `worst_oracle` and `worst_eval_acc` are those of the attack that finds most among these;
    of the point that leaks less, among all that it faced (`Outcomes.strongest`). `verdict` says of the first
    of each pair: its leak is 'lower', 'higher', or 'no difference shown'. Pairs that share no attack are left
    out.
    """
    shown, differences, tellable = [], [], []
    for first, second in pairs:
        if found := outcomes.strongest(first, second):
            *keys, verdict = found
            one, other = (_side(*side, outcomes) for side in zip((first, second), keys, strict=True))
            shown.append(one | {f"other_{name}": value for name, value in other.items()})
            differences.append(outcomes.difference(*keys))
            tellable.append(verdict)
    tests = together(differences)
    verdicts = tests["verdict"].where(tests["verdict"] == tellable, NO_DIFFERENCE)
    return pd.concat([pd.DataFrame(shown), tests.assign(verdict=verdicts)], axis=1)


def _side(line: pd.Series, key: Key, outcomes: Outcomes) -> dict[str, object]:
    worst = {"worst_attack": key.trial, "worst_oracle": key.oracle, "worst_eval_acc": outcomes.rate(key)}
    return {name: line[name] for name in (*POINT, "auc")} | worst


def against_none(summary: pd.DataFrame, outcomes: Outcomes) -> pd.DataFrame:
    """Each point against the undefended one; see `versus`.

    Where the undefended worst case leaves no room, no difference is 'not shown'.
    """
    lines = [line for _, line in attacked(summary).iterrows()]
    undefended = [line for line in lines if line["defence"] == "none"]
    pairs = [(line, undefended[0]) for line in lines if undefended and line["defence"] != "none"]
    table = versus(pairs, outcomes)
    if table.empty:
        return table
    room = leaves_room(undefended[0], "worst_eval_acc")
    return table.assign(verdict=shown_with([room] * len(table), table["verdict"]))


def at_equal_utility(summary: pd.DataFrame) -> Iterator[Pair]:
    """Points of two defences of which each has its AUC within the other's interval.

    The AUC of an f that learned from the very people it is measured on compares with another such one alone.
    """
    lines = [line for _, line in attacked(summary).iterrows() if line["defence"] != "none"]
    for first, second in itertools.combinations(lines, 2):
        # Both ways: a point with a wide interval would else be equal to everybody.
        comparable = first["acquainted"] == second["acquainted"] and first["defence"] != second["defence"]
        if comparable and _within(first, second) and _within(second, first):
            yield first, second


def _within(first: pd.Series, second: pd.Series) -> bool:
    return bool(second["auc_lo"] <= first["auc"] <= second["auc_hi"])


def ranking(summary: pd.DataFrame, outcomes: Outcomes) -> pd.DataFrame:
    """Every two defences at equal utility; see `versus`."""
    return versus(at_equal_utility(summary), outcomes)


def strengths(summary: pd.DataFrame, outcomes: Outcomes) -> pd.DataFrame:
    """Every two strengths of one defence, in the order of the study; Holm within the defence."""
    tables = []
    for _, lines in attacked(summary).groupby("defence", sort=False):
        pairs = list(itertools.combinations([line for _, line in lines.iterrows()], 2))
        if pairs:
            tables.append(versus(pairs, outcomes))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def alike(chosen: pd.Series, others: pd.DataFrame, outcomes: Outcomes) -> pd.DataFrame:
    """The other points whose leak is not shown to differ from the chosen one's."""
    rest = others[(others[POINT] != chosen[POINT]).any(axis=1)]
    table = versus([(line, chosen) for _, line in rest.iterrows()], outcomes)
    return at_points(rest, table[table["verdict"] == NO_DIFFERENCE])


def at_points(summary: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The lines of the summary whose points come first in a line of `versus`."""
    names = set() if table.empty else set(zip(table["defence"], table["strength"], strict=True))
    points = zip(summary["defence"], summary["strength"], strict=True)
    return summary[[point in names for point in points]]
