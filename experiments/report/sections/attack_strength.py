"""How strong each attack is where nothing is defended, and whether it is weaker than the rung below it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pandas as pd

from experiments.report import names
from experiments.report.analysis import Analysis
from experiments.report.document import Block, Table, Text
from experiments.report.formats import attack_of, filled, intervals, judges, percent, trials
from experiments.report.statistics.checks import times_chance
from experiments.report.statistics.paired_tests import Outcomes, together
from experiments.report.statistics.worst_case import ADAPTIVE, EVAL_ACC, key

TITLE = "How strong are the attacks?"
LADDER = (
    "An attack that finds little where nothing is defended shows little where something is. So each attack "
    "is compared with the rung below it, on the same undefended images. An attack that learns from answers, "
    "averages or has another generator is compared with the attack that does not. An attack that reads f's "
    "layers is compared with the same attack on the feature. An attack that goes on from another attack's "
    "image is compared with that attack. Other reconstructions are compared with the plain white-box search. "
    "Attacks that are shown to be weaker are marked as not comparable: a low figure of theirs is no credit "
    "to a defence."
)
VERDICTS = {"lower": "weaker: not comparable", "higher": "stronger"}
LOWEST = "white_box"
FIRST = ("linkage", "matching")
"""Attacks of a kind of their own: no other is below them."""
BELOW = {
    **{kind: kind for kind in FIRST},
    "progressive": "white_box",
    "white_box_amortized": "white_box",
    "hybrid": "black_box",
    "black_box_adversarial": "black_box",
    "hidden_black_box": "black_box",
    "a1_through_hidden": "hidden_black_box",
    **dict.fromkeys(["through_block", "through_hidden", "through_logits", "through_several"], "progressive"),
    **dict.fromkeys(["linkage_hidden", "linkage_logits", "linkage_network"], "linkage"),
    **dict.fromkeys(["matching_feature", "matching_answers"], "matching"),
    "a1_matching_protected": "a1_matching",
    "a1_matching_answers_protected": "a1_matching_answers",
}
"""The attack that another one begins with or replaces a part of, by the names of the scenarios."""
REASONS = {
    re.compile(r"through_(block|hidden|logits)|hidden_black_box|_(hidden|logits|answers|feature)$"): (
        "it sees only a part of what the other sees"
    ),
    re.compile(r"^a1_"): "it learns from answers to {queries:.0f} pictures",
    re.compile(r"^a2_"): "it has another generator",
}
"""Why an attack may be behind the rung below it, by its name."""


def blocks(analysis: Analysis) -> Iterator[Block]:
    table = _ladder(analysis.best, analysis.outcomes)
    if len(table):
        yield Text(LADDER)
        yield Table(_readable(table), "attacks", table)


def doubts(analysis: Analysis) -> Iterator[str]:
    table = _ladder(analysis.best, analysis.outcomes)
    weaker = table[table["verdict"] == "lower"].to_dict("records") if len(table) else []
    if weaker:
        found = dict.fromkeys(
            f"{attack_of(line)} ({percent(line['eval_acc'])}, {names.judge(line['oracle'])}) than "
            f"{names.attack(line['below'])} ({_reason(line)})"
            for line in weaker
        )
        yield f"Weaker where nothing is defended, and so not comparable: {', '.join(found)}."


def _reason(line: Mapping[str, Any]) -> str:
    told = next((why for name, why in REASONS.items() if name.search(line["attack"])), "")
    if "{queries" in told and not line["queries"] > 0:
        told = ""
    return told.format(**line) or "the reason is not known"


def _ladder(best: pd.DataFrame, outcomes: Outcomes) -> pd.DataFrame:
    """Every attack on no defence.

    `verdict` compares with the attack `below` under the same oracle, all as one family of tests (Holm); empty
    where there is none.
    """
    rows = best[(best["defence"] == "none") & best["eval_acc"].notna() & (best["countermeasure"] == "none")]
    shown = rows.reindex(columns=["attack", "epoch", "access", "adaptive", "queries", "oracle", *EVAL_ACC])
    known = set(rows["attack"])
    shown = shown.assign(
        times_chance=[times_chance(row) for _, row in rows.iterrows()],
        below=[_below(attack, known) for attack in rows["attack"]],
    )
    pairs = {
        index: (key(row), key(row)._replace(trial=shown["below"][index])) for index, row in rows.iterrows()
    }
    pairs = {
        index: pair
        for index, pair in pairs.items()
        if pair[0] != pair[1] and all(k in outcomes for k in pair)
    }
    tests = together([outcomes.difference(*pair) for pair in pairs.values()])
    return shown.join(tests.set_index(pd.Index(pairs))[["change", "lo", "hi", "p_holm", "verdict"]])


def _below(attack: str, known: Collection[str]) -> str:
    """The rung below an attack, of those that are `known` to the study; its own name where there is none."""
    unadapted = ADAPTIVE.sub("", attack)
    below = BELOW.get(attack) or (unadapted if unadapted != attack else LOWEST)
    if below in known:
        return below
    return attack if unadapted.startswith(FIRST) else LOWEST


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    return filled(
        pd.DataFrame(
            {
                "attack": trials(table),
                "attacker has": table["access"].map({"white": "the encoder", "black": "answers only"}),
                "adapts": table["adaptive"].replace("none", "no"),
                "judge": judges(table["oracle"]),
                "identified, undefended": intervals(table, "eval_acc", percent),
                "times chance (lower bound)": table["times_chance"].map("{:.1f}".format),
                "rung below": table["below"].where(table["verdict"].notna(), "").map(names.attack),
                "against it": table["verdict"].replace(VERDICTS),
            }
        )
    )
