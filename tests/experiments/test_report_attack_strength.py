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
        if line.get("against it")
    }


@pytest.mark.parametrize(
    ("attack", "below"),
    [
        ("hybrid", "black_box"),
        ("progressive", "white_box"),
        ("a1_matching", "matching"),
        ("a3_hybrid", "hybrid"),
        ("a1_through_hidden", "hidden_black_box"),
        ("through_hidden", "progressive"),
        ("linkage_network", "linkage"),
        ("matching_answers", "matching"),
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


@pytest.mark.parametrize("attack", ["linkage", "matching", "a1_linkage", "matching_answers"])
def test_what_makes_no_image_is_no_rung_above_a_search(attack: str) -> None:
    """Linkage, the worst case of many defences, would be marked as not comparable where a good prior lets a
    search name everybody undefended."""
    assert not verdicts([undefended("white_box", 30), undefended(attack, 4)])


@pytest.mark.parametrize(
    ("attack", "below", "why"),
    [
        ("through_logits", "progressive", "it sees only a part of what the other sees"),
        ("a1_hybrid", "hybrid", "it learns from answers to 400 pictures"),
        ("a2_g2", "white_box", "it has another generator"),
        ("progressive", "white_box", "the reason is not known"),
    ],
)
def test_what_is_weaker_says_why_where_that_is_known(attack: str, below: str, why: str) -> None:
    """Of a rung that is behind nobody could tell whether the attack is broken or has less to go by."""
    queries = 400 if attack.startswith("a1_") else None
    (doubt,) = doubts(analysis([undefended(attack, 4, queries=queries), undefended(below, 30)]))
    assert f"({why})" in doubt


def test_where_the_rung_below_was_not_run_it_is_the_search() -> None:
    (found,) = verdicts([undefended("white_box", 30), undefended("a1_hybrid", 4)]).values()
    assert found == ("white-box search", "weaker: not comparable")
