"""What attackers gain by adapting to a defence."""

from __future__ import annotations

from collections.abc import Iterator

from experiments.evaluation.exposure import EXPOSURE
from experiments.report import names
from experiments.report.analysis import Analysis
from experiments.report.document import Block, Table, Text
from experiments.report.formats import attack_of, name_of, percent, readable_gains
from experiments.report.statistics.worst_case import answering

TITLE = "What an attacker gains by adapting"
GAINS = (
    "Each adaptive attack, at its best, is compared with the strongest basic attack on the same defence. The "
    "change is in percentage points on the same images, with 95% intervals. The tests are corrected (Holm) "
    "for the number of adaptive attacks on one defence at one strength. Where adapting finds more, the basic "
    "figures alone would have given false security."
)


def blocks(analysis: Analysis) -> Iterator[Block]:
    table = analysis.gains[analysis.gains["adaptive"] != EXPOSURE]
    if len(table):
        yield Text(GAINS)
        yield Table(readable_gains(table), "adaptive", table)


def doubts(analysis: Analysis) -> Iterator[str]:
    table = answering(analysis.gains)
    for line in table[table["verdict"] == "higher"].to_dict("records"):
        yield (
            f"False security: under {name_of(line)}, {attack_of(line)} identifies "
            f"{percent(line['eval_acc'])}. The strongest basic attack, the "
            f"{names.attack(line['basic_attack'])}, identifies {percent(line['basic_eval_acc'])}."
        )
