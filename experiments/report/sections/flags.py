"""Reasons to doubt the attacks themselves: what a low figure may come from other than the defence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd
import torch
from scipy.stats import fisher_exact

from callbacks.settling import SETTLED
from experiments.evaluation.combining import FUSION
from experiments.report import names
from experiments.report.analysis import Analysis
from experiments.report.document import Block, Items, Text
from experiments.report.formats import name_of, percent
from experiments.report.reading import read_table
from experiments.report.results import POINT, Results, stage_of
from experiments.report.statistics.paired_tests import SIGNIFICANCE, Outcomes, together
from experiments.report.statistics.worst_case import attacks, candidates, key
from facecrafter.metrics.significance import holm

TITLE = "Flags"
FLAGS = (
    "What may make a defence look better than it is. Each is found by a rule; differences are tested on the "
    "same images (what a search found on public people as if all its pictures were independent), corrected "
    "(Holm) for all tests of their kind."
)


def blocks(analysis: Analysis) -> Iterator[Block]:
    if found := list(doubts(analysis)):
        yield Text(FLAGS)
        yield Items(found, warning=True)


def doubts(analysis: Analysis) -> Iterator[str]:
    found, config = candidates(analysis.best), analysis.results.config
    yield from _masked(found, analysis.outcomes, config.get("identifications") or ())
    yield from _one_query(found, analysis.results)
    yield from _epochs(attacks(analysis.best), analysis.outcomes)
    yield from _searches(found, analysis.results)
    yield from _unsettled(found, analysis.results)
    for item in analysis.checks:
        if not item.passed:
            yield f"The figures of {names.judge(item.oracle)} cannot tell: not so that {item.text}."


def _masked(found: pd.DataFrame, outcomes: Outcomes, linked: Iterable[str]) -> Iterator[str]:
    """Points where the best black-box attack beats the best white-box one; all make images of their own."""
    images = found[~found["attack"].isin([FUSION, *linked])]
    pairs = []
    for _, group in images.groupby([*POINT, "oracle"], sort=False):
        rows = [group[group["access"] == access] for access in ("black", "white")]
        if all(len(part) for part in rows):
            pairs.append(tuple(part.loc[part["eval_acc"].idxmax()] for part in rows))
    tests = together([outcomes.difference(key(black), key(white)) for black, white in pairs])
    beaten = [pair for pair, verdict in zip(pairs, tests["verdict"], strict=True) if verdict == "higher"]
    undefended = {black["oracle"] for black, _ in beaten if black["defence"] == "none"}
    for black, white in beaten:
        shown = (
            f"{names.attack(black['attack'])} ({percent(black['eval_acc'])}) beats every white-box attack "
            f"({names.attack(white['attack'])}, {percent(white['eval_acc'])}), judged by "
            f"{names.judge(black['oracle'])}"
        )
        if black["defence"] == "none":
            yield f"Even undefended, {shown}: the white-box attacks of this study are weak."
        elif black["oracle"] not in undefended:
            yield f"Gradients masked? Under {name_of(black)}, {shown}."


def _one_query(found: pd.DataFrame, results: Results) -> Iterator[str]:
    """Defences that draw at random, and points of theirs that nobody averaged over queries."""
    for point, group in found.groupby(POINT, sort=False):
        if not results.drawing.get(point[0]) or (group["adaptive"] == "A3").any():
            continue
        yield (
            f"{name_of(group.iloc[0])} draws at random and was judged on one query: what averages out over "
            "several was not looked for."
        )


def _unsettled(found: pd.DataFrame, results: Results) -> Iterator[str]:
    """Defences whose training is a game that was over before it had settled, after the logs they left."""
    for point, group in found.groupby(POINT, sort=False):
        stage = stage_of(dict(zip(POINT, point, strict=True)))
        log = results.folder(stage) / "logs" / "settling.csv" if stage in results.done else None
        if log is None or not log.is_file():
            continue
        changes = read_table(log, ("change",))["change"]
        if not changes.iloc[-1] <= SETTLED:
            by = f"it was still changing by {percent(changes.iloc[-1])}"
            known = "too few to tell" if pd.isna(changes.iloc[-1]) else by
            yield (
                f"The game of {name_of(group.iloc[0])} was over after {len(changes)} epochs and had not "
                f"settled ({known}): trained for longer, it may protect better, or worse."
            )


def _epochs(found: pd.DataFrame, outcomes: Outcomes) -> Iterator[str]:
    """Attacks over several epochs: the last one against epoch 0, and against the one before it, which has
    to have learned something: to find more than epoch 0 is what adapting is for."""
    lasts, kinds = [], []
    for _, group in found[found["epoch"].notna()].groupby([*POINT, "attack", "oracle"], sort=False):
        ordered = [row for _, row in group.sort_values("epoch").iterrows()]
        if len(ordered) < 2:
            continue
        if ordered[0]["epoch"] == 0:
            lasts.append((ordered[-1], ordered[0]))
            kinds.append("lower")
        if ordered[-2]["epoch"] > 0:
            lasts.append((ordered[-1], ordered[-2]))
            kinds.append("higher")
    tests = together([outcomes.difference(key(last), key(other)) for last, other in lasts])
    for (last, other), kind, verdict in zip(lasts, kinds, tests["verdict"], strict=True):
        if kind == verdict:
            what = "is weaker than its own epoch 0" if kind == "lower" else "has not converged"
            yield (
                f"Under {name_of(last)}, {names.attack(last['attack'])} {what}: {percent(last['eval_acc'])} "
                f"after epoch {int(last['epoch'])}, {percent(other['eval_acc'])} after epoch "
                f"{int(other['epoch'])}, judged by {names.judge(last['oracle'])}."
            )


class _Last(NamedTuple):
    """What a search of a few images found at the last epoch that it tried, and at most before; whether it
    chose the last one."""

    epoch: int
    identified: float
    before: float
    images: int
    chosen: bool


def _searches(found: pd.DataFrame, results: Results) -> Iterator[str]:
    """Attacks whose epoch was chosen on public people, and who would have been given a later one: the last
    was chosen, and found more than all before it."""
    flags, p = [], []
    for _, group in found.groupby([*POINT, "attack"], sort=False):
        if (last := _last_epoch(group.iloc[0], results)) is None:
            continue
        hits = [round(last.images * share) for share in (last.identified, last.before)]
        test = fisher_exact([[one, last.images - one] for one in hits], alternative="greater")
        p.append(test.pvalue if last.chosen else 1.0)
        flags.append(
            f"Under {name_of(group.iloc[0])}, {names.attack(group.iloc[0]['attack'])} has not converged: "
            f"{percent(last.identified)} of public people's pictures after epoch {last.epoch}, the last that "
            f"was tried, {percent(last.before)} before it."
        )
    adjusted = holm(torch.tensor(p, dtype=torch.float64))
    yield from (flag for flag, value in zip(flags, adjusted, strict=True) if value < SIGNIFICANCE)


def _last_epoch(row: pd.Series, results: Results) -> _Last | None:
    """Of candidates that are alike but for the epoch that they name; None where no two that trained are."""
    name = f"{stage_of(row)}.{row['attack']}.search"
    if name not in results.done:
        return None
    tried = results.config["attacks"][row["attack"]]["search"]["candidates"]
    choice = results.chosen(name)
    others = _but_for_the_epoch(tried[choice["chosen"]])
    alike = {key: one.get("epoch") for key, one in tried.items() if _but_for_the_epoch(one) == others}
    if None in alike.values() or len({epoch for epoch in alike.values() if epoch}) < 2:
        return None
    last = max(alike, key=lambda key: alike[key])
    identified = {key: choice["candidates"][key]["identified"] for key in alike}
    before = max(share for key, share in identified.items() if key != last)
    return _Last(alike[last], identified[last], before, choice["images"], choice["chosen"] == last)


def _but_for_the_epoch(candidate: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in candidate.items() if name != "epoch"}
