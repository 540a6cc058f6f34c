"""How strong each attack is where nothing is defended, and whether it is weaker than the rung below it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

import pandas as pd

from experiments.report import names
from experiments.report.analysis import Analysis
from experiments.report.document import Block, Table, Text
from experiments.report.formats import attack_of, filled, intervals, judges, percent, trials
from experiments.report.statistics.checks import times_chance
from experiments.report.statistics.paired_tests import Outcomes, together
from experiments.report.statistics.worst_case import EVAL_ACC, key

TITLE = "How strong are the attacks?"
LADDER = (
    "An attack that finds little where nothing is defended shows little where something is. Each is held "
    "against the rung below it, on the same undefended images: what learns from answers, averages or has "
    "another generator against the attack that does not, what goes on from another attack's image against "
    "that one, the others against the plain white-box search. Those shown to be weaker are marked as not "
    "comparable: a low figure of theirs is no credit to a defence."
)
VERDICTS = {"lower": "weaker: not comparable", "higher": "stronger"}
LOWEST = "white_box"
BELOW = {
    "progressive": "white_box",
    "white_box_amortized": "white_box",
    "hybrid": "black_box",
    "black_box_adversarial": "black_box",
}
"""The attack that another one begins with or replaces a part of, by the names of the scenarios."""
ADAPTIVE = re.compile(r"^a[123]_|_each$")
"""What the scenarios put around the name of an attack that adapts."""


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
            f"{names.attack(line['below'])}"
            for line in weaker
        )
        yield f"Weaker where nothing is defended, so not comparable: {', '.join(found)}."


def _ladder(best: pd.DataFrame, outcomes: Outcomes) -> pd.DataFrame:
    """Every attack on no defence.

    `verdict` compares with the attack `below` under the same oracle, all as one family of tests (Holm); empty
    where there is none.
    """
    rows = best[(best["defence"] == "none") & best["eval_acc"].notna() & (best["countermeasure"] == "none")]
    shown = rows[["attack", "epoch", "access", "adaptive", "oracle", *EVAL_ACC]]
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
    """The rung below an attack, of those that are `known` to the study."""
    unadapted = ADAPTIVE.sub("", attack)
    below = unadapted if unadapted != attack else BELOW.get(attack, LOWEST)
    return below if below in known else LOWEST


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
