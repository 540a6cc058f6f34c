"""A short form of `make faults`, and its table."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from faults.__main__ import ROOT, Row, write_rows
from faults.kills import Killer, difference
from faults.subjects import fits


def test_a_row_takes_the_place_of_the_earlier_one_of_its_fault(tmp_path: Path) -> None:
    page = tmp_path / "faults.md"
    page.write_text((ROOT / "docs" / "faults.md").read_text())
    write_rows(page, [Row("x", "1 time", "bad"), Row("y", "2 times", "good")])
    after = page.read_text()
    write_rows(page, [Row("x", "3 times", "good")])
    assert page.read_text() == after.replace("| x | 1 time | bad |", "| x | 3 times | good |")
    assert after.index("| x | ") < after.index("*run to the end*"), "in the table, not behind the page"


def test_numbers_that_differ_are_named() -> None:
    assert difference({"a": "1", "b": "2"}, {"a": "1", "b": "2"}) == ""
    assert difference({"a": "1", "b": "2"}, {"a": "9", "c": "2"}) == "3 differ: a, b, c"


@pytest.mark.slow
def test_a_fit_that_is_killed_ends_as_if_nobody_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    # Early, for the second run is quicker than the first, which a late kill would miss.
    killer = Killer(tmp_path, random.Random(0), longest=0.3)
    start = fits(tmp_path)["TargetNetwork"]
    life = killer.life(killer.unbroken(start), most=2)
    assert life.kills > 0
    assert life.wrong == ""
