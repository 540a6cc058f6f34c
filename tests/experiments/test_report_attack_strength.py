"""Each attack is held against the rung below it, where nothing is defended."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from test_report_worst_case import outcomes, row

from experiments.report.document import Table
from experiments.report.sections.attack_strength import blocks, doubts


def undefended(attack: str, hits: int, **other: Any) -> dict[str, Any]:
    return row(
        attack, hits, **{"defence": "none", "strength": "", "access": "white", "chance": 0.01, **other}
    )


def analysis(rows: list[dict[str, Any]]) -> SimpleNamespace:
    return SimpleNamespace(best=pd.DataFrame(rows), outcomes=outcomes(rows))


def verdicts(rows: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    table = next(block for block in blocks(analysis(rows)) if isinstance(block, Table)).readable
    return {
        line["attack"]: (line["rung below"], line["against it"])
        for line in table.to_dict("records")
        if line["against it"]
    }


@pytest.mark.parametrize(
    ("attack", "below"),
    [
        ("hybrid", "black_box"),
        ("progressive", "white_box"),
        ("a1_matching", "matching"),
        ("a3_hybrid", "hybrid"),
    ],
)
def test_an_attack_that_falls_behind_the_rung_below_it_is_named(attack: str, below: str) -> None:
    """Broken, it finds little of any defence, which would pass for protection."""
    weak, strong = (
        [undefended(attack, 4), undefended(below, 30)],
        [undefended(attack, 30), undefended(below, 4)],
    )
    (found,) = verdicts(weak).values()
    assert found[1] == "weaker: not comparable"
    (doubt,) = doubts(analysis(weak))
    assert "10.0%" in doubt
    (found,) = verdicts(strong).values()
    assert found[1] == "stronger"
    assert not list(doubts(analysis(strong)))


def test_an_attack_is_held_against_its_own_rung_and_not_against_the_strongest() -> None:
    rows = [undefended("white_box", 38), undefended("black_box", 8), undefended("hybrid", 20)]
    found = verdicts(rows)
    assert sorted(found.values()) == [
        ("black-box decoder", "stronger"),
        ("white-box search", "weaker: not comparable"),  # the decoder itself
    ]


def test_where_the_rung_below_was_not_run_it_is_the_search() -> None:
    (found,) = verdicts([undefended("white_box", 30), undefended("a1_hybrid", 4)]).values()
    assert found == ("white-box search", "weaker: not comparable")
