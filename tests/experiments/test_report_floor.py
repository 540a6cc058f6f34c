"""What a report says of the bits in f's answers."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest

from experiments.report.document import Table, Text
from experiments.report.sections import floor
from experiments.report.sections.floor import _bits
from experiments.report.sections.question import _proved


@pytest.mark.parametrize(
    ("bits", "says", "says_not"),
    [
        (2.0, "37.5% of 256 people by these answers, or 15.1% of a million", "enough"),
        (9.0, "more than 50.2% of a million", "256"),  # of 256 Fano's bound is above one: it says nothing
        (30.0, "enough to tell a million people apart", "nobody"),
    ],
)
def test_a_bound_that_says_nothing_is_not_said(bits: float, says: str, says_not: str) -> None:
    """'Nobody could name more than 100% of 256 people' passes for a guarantee at a glance."""
    summary = pd.DataFrame(
        {"defence": ["none"], "strength": [""], "n_identities": [256], "answer_bits": [bits]}
    )
    (text,) = _bits(summary)
    assert says in text.text
    assert says_not not in text.text.split("describe the answers.")[1]
    assert "This is no bound" in text.text


@pytest.mark.parametrize("proved", [0.125, float("nan")])
def test_what_is_proved_stands_beside_what_was_measured(proved: float) -> None:
    """And is explained where, and only where, something is."""
    lines = {"defence": ["none", "quantised_decoy"], "strength": ["", "bits=5"], "n_identities": [256, 256]}
    summary = pd.DataFrame(lines | {"floor": [0.13, 0.04], "proved": [float("nan"), proved]})
    found = list(floor.blocks(SimpleNamespace(summary=summary.assign(against_floor=""))))  # type: ignore[arg-type]
    (table,) = (block for block in found if isinstance(block, Table))
    said = [block.text for block in found if isinstance(block, Text)]
    assert (floor.PROVED in said) == (proved == 0.125)
    told = table.readable.get("proved: at most")
    assert told is None if proved != 0.125 else list(told) == ["", "12.5%"]


def test_a_proved_bound_stands_on_the_card_where_it_bounds_anything() -> None:
    (fact,) = _proved(pd.Series({"proved": 0.16}))
    assert "Nobody can name more than 16.0 in a hundred" in fact.answer
    for share in (1.0, float("nan")):
        assert not _proved(pd.Series({"proved": share}))
    assert not _proved(pd.Series({"auc": 0.7}))
