"""Reasons to doubt the attacks themselves: what a low figure may come from other than the defence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd
import torch
from scipy.stats import binomtest, fisher_exact

from callbacks.settling import SETTLED
from experiments.classes import complete, import_class
from experiments.evaluation.combining import FUSION
from experiments.report import names
from experiments.report.analysis import Analysis
from experiments.report.document import Block, Items, Text
from experiments.report.formats import name_of, percent
from experiments.report.reading import read_table
from experiments.report.results import POINT, Results, stage_of
from experiments.report.statistics.paired_tests import SIGNIFICANCE, Outcomes, together
from experiments.report.statistics.worst_case import attacks, candidates, key
from experiments.study.keys import references
from facecrafter.metrics.significance import holm

TITLE = "Flags"
FLAGS = (
    "These flags name what may make a defence look better than it is. Each is found by a rule. Differences "
    "are tested on the same images and corrected (Holm) for all tests of their kind. What a search found on "
    "public people is tested as if all its pictures were independent."
)
LONGER = (
    "gains from answers though there is nothing to adapt to (so its starting point was trained too briefly, "
    "and what it gains under a defence comes from that, too)"
)

BUDGETS = ("epoch", "iterations", "steps")
"""Arguments of an attack with more of which it finds more until it has converged."""
READS = ("layers", "directions")
"""Arguments of what reads features that say what it reads of them."""


def blocks(analysis: Analysis) -> Iterator[Block]:
    if found := list(doubts(analysis)):
        yield Text(FLAGS)
        yield Items(found, warning=True)


def doubts(analysis: Analysis) -> Iterator[str]:
    found, config = candidates(analysis.best), analysis.results.config
    yield from _masked(found, analysis.outcomes, config.get("identifications") or ())
    yield from _one_query(found, analysis.results)
    yield from _averaged(found, analysis.outcomes, config)
    yield from _epochs(attacks(analysis.best), analysis.outcomes)
    yield from _searches(found, analysis.results)
    yield from _by_chance(found, analysis.results)
    yield from _unsettled(found, analysis.results)
    for item in analysis.checks:
        if not item.passed:
            yield f"The figures of {names.judge(item.oracle)} cannot tell. Failed check: {item.text}."


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
    points = [
        name_of(group.iloc[0])
        for point, group in found.groupby(POINT, sort=False)
        if results.drawing.get(point[0]) and not (group["adaptive"] == "A3").any()
    ]
    if points:
        does = "draws at random and was" if len(points) == 1 else "draw at random and were"
        yield (
            f"{', '.join(points)} {does} judged on one query. No attack looked for what averages out over "
            "several."
        )


def _averaged(found: pd.DataFrame, outcomes: Outcomes, config: Mapping[str, Any]) -> Iterator[str]:
    """Points where several queries find less than one does by the same attack, which has learnt from answers
    if the other one has: then their mean is not of what they have in common."""
    kinds = found.assign(kind=[_kind(name, config) for name in found["attack"]])
    kinds = kinds[(kinds["defence"] != "none") & (kinds["countermeasure"] == "none")]
    pairs = []
    for _, group in kinds.groupby([*POINT, "oracle", "kind"], sort=False):
        several = group["adaptive"] == "A3"
        if several.any() and not several.all():
            pairs.append(
                tuple(part.loc[part["eval_acc"].idxmax()] for part in (group[several], group[~several]))
            )
    tests = together([outcomes.difference(key(mean), key(one)) for mean, one in pairs])
    for (mean, one), verdict in zip(pairs, tests["verdict"], strict=True):
        if verdict == "lower":
            yield (
                f"Under {name_of(mean)}, {names.attack(mean['attack'])} ({percent(mean['eval_acc'])}) finds "
                f"less than {names.attack(one['attack'])} of one query ({percent(one['eval_acc'])}), judged "
                f"by {names.judge(one['oracle'])}. What was averaged is not what the queries have in common."
            )


def _kind(name: str, config: Mapping[str, Any]) -> str:
    """What an attack does, whatever it is called: its class, what it reads, and whether its networks have
    learnt from answers of the defence."""
    known = {**(config.get("attacks") or {}), **(config.get("identifications") or {})}
    one, fits = known.get(name) or {"class_path": name}, config.get("fits") or {}
    networks = [fits[fit] for fit in sorted(references(one)) if fit in fits]
    learnt = any("features" in ((fit.get("data") or {}).get("init_args") or {}) for fit in networks)
    if "identifier" not in one:
        return str([one.get("class_path"), one.get("layers"), learnt])
    models = [fit["model"] for fit in networks]
    reads = [[(model.get("init_args") or {}).get(name) for name in READS] for model in models]
    return str([[model["class_path"] for model in models], reads, learnt])


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
            known = "too few epochs to tell" if pd.isna(changes.iloc[-1]) else by
            yield (
                f"The training game of {name_of(group.iloc[0])} ended after {len(changes)} epochs and had "
                f"not settled ({known}). Trained for longer, it may protect better or worse."
            )


def _epochs(found: pd.DataFrame, outcomes: Outcomes) -> Iterator[str]:
    """Attacks over several epochs: the last one against epoch 0, and against the one before it, which has
    to have learned something: to find more than epoch 0 is what adapting is for, but where there is nothing
    to adapt to."""
    pairs, says = [], []
    for _, group in found[found["epoch"].notna()].groupby([*POINT, "attack", "oracle"], sort=False):
        ordered = [row for _, row in group.sort_values("epoch").iterrows()]
        if len(ordered) < 2:
            continue
        last, before, first = ordered[-1], ordered[-2], ordered[0]
        if first["epoch"] == 0:
            pairs.append((last, first))
            longer = {"higher": LONGER} if last["defence"] == "none" else {}
            says.append({"lower": "is weaker than its own epoch 0", **longer})
        if before["epoch"] > 0:
            pairs.append((last, before))
            says.append({"higher": "has not converged"})
    tests = together([outcomes.difference(key(last), key(other)) for last, other in pairs])
    for (last, other), said, verdict in zip(pairs, says, tests["verdict"], strict=True):
        if verdict in said:
            yield (
                f"Under {name_of(last)}, {names.attack(last['attack'])} {said[verdict]}: "
                f"{percent(last['eval_acc'])} after epoch {int(last['epoch'])}, {percent(other['eval_acc'])} "
                f"after epoch {int(other['epoch'])}, judged by {names.judge(last['oracle'])}."
            )


class _Most(NamedTuple):
    """What a search of a few images found with the most of a budget that it tried, and at most with less;
    whether it chose the most."""

    budget: str
    spent: int
    identified: float
    less: float
    images: int
    chosen: bool


def _searches(found: pd.DataFrame, results: Results) -> Iterator[str]:
    """Attacks whose epoch, iterations or steps were chosen on public people, and who would have been given
    more: the most was chosen, and found more than all less."""
    flags, p = [], []
    for _, group in found.groupby([*POINT, "attack"], sort=False):
        for most in _most_tried(group.iloc[0], results):
            hits = [round(most.images * share) for share in (most.identified, most.less)]
            test = fisher_exact([[one, most.images - one] for one in hits], alternative="greater")
            p.append(test.pvalue if most.chosen else 1.0)
            flags.append(
                f"Under {name_of(group.iloc[0])}, {names.attack(group.iloc[0]['attack'])} has not converged: "
                f"it identifies {percent(most.identified)} of public people's pictures with {most.budget} = "
                f"{most.spent}, the most that was tried, and {percent(most.less)} with less."
            )
    adjusted = holm(torch.tensor(p, dtype=torch.float64))
    yield from (flag for flag, value in zip(flags, adjusted, strict=True) if value < SIGNIFICANCE)


def _by_chance(found: pd.DataFrame, results: Results) -> Iterator[str]:
    """Attacks whose settings were chosen by a judge who recognises no more public people than chance in what
    the attack makes of them, even where nothing is defended."""
    guessed = []
    for name, group in found[found["defence"] == "none"].groupby("attack", sort=False):
        choice = _choice(group.iloc[0], results)
        if choice and (people := choice.get("people")):
            most = max(one["identified"] for one in choice["candidates"].values())
            hits = round(choice["images"] * most)
            chance = binomtest(hits, choice["images"], 1 / people, alternative="greater").pvalue
            if chance * len(choice["candidates"]) > SIGNIFICANCE:  # the best of several (Bonferroni)
                shown = f"{percent(most)} of {choice['images']} pictures of {people} people"
                guessed.append(f"{names.attack(str(name))} ({shown})")
    if guessed:
        yield (
            "Settings were chosen by how many public people the judge recognises. Undefended, that is no "
            f"more than chance: {', '.join(guessed)}. Which setting was chosen says little."
        )


def _most_tried(row: pd.Series, results: Results) -> Iterator[_Most]:
    """Of each budget whose candidates, alike but for it, were tried with two amounts and more."""
    if (choice := _choice(row, results)) is None:
        return
    attack = results.config["attacks"][row["attack"]]
    tried = {key: _settings(attack, one) for key, one in attack["search"]["candidates"].items()}
    for budget in BUDGETS:
        others = _but_for(budget, tried[choice["chosen"]])
        alike = {key: one.get(budget) for key, one in tried.items() if _but_for(budget, one) == others}
        if None in alike.values() or len({amount for amount in alike.values() if amount}) < 2:
            continue
        most = max(alike, key=lambda key: alike[key])
        identified = {key: choice["candidates"][key]["identified"] for key in alike}
        less = max(share for key, share in identified.items() if key != most)
        chosen = choice["chosen"] == most
        yield _Most(budget, alike[most], identified[most], less, choice["images"], chosen)


def _choice(row: pd.Series, results: Results) -> dict[str, Any] | None:
    """What the search for an attack's settings left; None where there was none."""
    name = f"{stage_of(row)}.{row['attack']}.search"
    return results.chosen(name) if name in results.done else None


def _settings(attack: Mapping[str, Any], candidate: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of a candidate, the defaults of the attack's class among them where it can be imported,
    and the epoch and networks that it names."""
    init_args = {**(attack.get("init_args") or {}), **(candidate.get("init_args") or {})}
    try:
        found = import_class(attack["class_path"], "the attack")
        init_args = complete(found, init_args, "the attack", given={"encoder", *attack["networks"]})
    except (KeyError, ValueError):
        pass  # somebody else's, and gone: what the configuration says is known
    return {**init_args, "epoch": candidate.get("epoch"), "networks": candidate.get("networks") or {}}


def _but_for(budget: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != budget}
