"""Tables in further formats are the same tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from experiments.report.exports import latex, write_table

TABLE = pd.DataFrame(
    {
        "defence": ["none", "crafter"],
        "restart": ["best", 3],
        "eval_acc": [0.5, None],
        "false_security": [True, None],
    },
    index=[7, 7],
)


def test_parquet_holds_what_the_csv_holds(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pip install -e '.[tables]'")
    write_table(tmp_path / "a.b", TABLE, also=["parquet"])
    read = pd.read_parquet(tmp_path / "a.b.parquet")
    assert list(read["restart"]) == ["best", "3"]
    assert read["eval_acc"].dtype == float
    assert read.to_csv(index=False) == (tmp_path / "a.b.csv").read_text()


def test_parquet_without_its_package_is_refused_before_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.report.exports.find_spec", lambda name: None)
    from experiments.report.exports import refuse_what_cannot_be_written

    refuse_what_cannot_be_written(["latex", "pdf"])
    with pytest.raises(ValueError, match="tables"):
        refuse_what_cannot_be_written(["parquet"])


def test_latex_escapes_what_people_named_and_shows_greek() -> None:
    text = latex(pd.DataFrame({"a_b": ["x & y", "Crafter β = 1"], "share (%)": ["50.0%", None]}))
    for shown in (r"a\_b", r"x \& y", r"Crafter $\beta$ = 1", r"share (\%)", r"50.0\%"):
        assert shown in text
    assert "None" not in text
    assert "nan" not in text.casefold()
