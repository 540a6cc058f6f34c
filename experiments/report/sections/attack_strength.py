"""How strong each attack is where nothing is defended, and whether it is weaker than the white-box one."""

from __future__ import annotations

from collections.abc import Iterator

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
    "An attack that finds little where nothing is defended shows little where something is. Attacks shown "
    "to be weaker than white_box on the same undefended images are marked as not comparable: a low figure "
    "of theirs is no credit to a defence."
)
VERDICTS = {"lower": "weaker: not comparable", "higher": "stronger"}


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
            f"{attack_of(line)} ({percent(line['eval_acc'])}, {names.judge(line['oracle'])})"
            for line in weaker
        )
        yield (
            f"Weaker than {names.attack('white_box')} where nothing is defended, so not "
            f"comparable: {', '.join(found)}."
        )


def _ladder(best: pd.DataFrame, outcomes: Outcomes) -> pd.DataFrame:
    """Every attack on no defence.

    `verdict` compares with `white_box` under the same oracle, all as one family of tests (Holm); empty where
    there is none.
    """
    rows = best[(best["defence"] == "none") & best["eval_acc"].notna() & (best["countermeasure"] == "none")]
    shown = rows[["attack", "epoch", "access", "adaptive", "oracle", *EVAL_ACC]]
    shown = shown.assign(times_chance=[times_chance(row) for _, row in rows.iterrows()])
    pairs = {index: (key(row), key(row)._replace(trial="white_box")) for index, row in rows.iterrows()}
    pairs = {
        index: pair
        for index, pair in pairs.items()
        if pair[0] != pair[1] and all(k in outcomes for k in pair)
    }
    tests = together([outcomes.difference(*pair) for pair in pairs.values()])
    return shown.join(tests.set_index(pd.Index(pairs))[["change", "lo", "hi", "p_holm", "verdict"]])


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
                "against white_box": table["verdict"].replace(VERDICTS),
            }
        )
    )
