"""Cells of tables that a spreadsheet opens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.evaluation.rows import write_table
from facecrafter.cells import neutral, original
from facecrafter.data.checks import read_splits
from facecrafter.data.splits import SplitRule, split
from facecrafter.data.table import FaceTable

TEXTS = ("=1+1", "+x", "-x", "@sum", "\tx", "\rx", "'=1", "''=1", "'x", "x=1", "", "-1", "+1.5", "'-1")


@pytest.mark.parametrize("text", TEXTS)
def test_no_text_is_a_formula_and_every_text_comes_back(text: str) -> None:
    assert original(neutral(text)) == text
    is_number = text in ("-1", "+1.5")
    assert neutral(text)[:1] not in ("=", "+", "-", "@", "\t", "\r") or is_number


@pytest.mark.parametrize("cell", [-1.5, -3, None, True])
def test_what_is_no_text_stays(cell: object) -> None:
    assert neutral(cell) is cell


def test_attribute_names_of_strangers_are_no_formulas(tmp_path: Path) -> None:
    write_table(tmp_path / "attributes.csv", [{"attribute": "=cmd|' /C calc'!A1", "auc": -0.5}])
    table = pd.read_csv(tmp_path / "attributes.csv")
    assert table["attribute"][0].startswith("'=")
    assert table["auc"][0] == -0.5


def test_a_picture_called_like_a_formula_keeps_its_split(tmp_path: Path) -> None:
    names = [f"{sign}{person}{i}.png" for person in "abcd" for i, sign in enumerate(("=", "@", "-", "'="))]
    people = [person for person in "abcd" for _ in range(4)]
    table = FaceTable.of("x", names, people, np.zeros((16, 1), np.uint8), ["tall"])
    splits = split(table, SplitRule(2, 2, 1.0, 0.5, None, 0))
    splits.write(tmp_path / "splits.csv")
    assert not [line for line in (tmp_path / "splits.csv").read_text().splitlines() if line[0] in "=@-"]
    assert sorted(read_splits(tmp_path / "splits.csv", table).image) == sorted(splits.image)
