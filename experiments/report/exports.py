"""Tables in files: as CSV for everybody, and where it is asked for as Parquet and LaTeX."""

from __future__ import annotations

import io
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import pandas as pd

from experiments.report.formats import csv_text
from facecrafter.files import write_whole

Format = Literal["parquet", "latex", "pdf"]
FORMATS: tuple[Format, ...] = ("parquet", "latex", "pdf")
"""What may be asked for beside CSV, PNG and SVG; PDF is for figures."""
GREEK = {"α": r"$\alpha$", "β": r"$\beta$", "ε": r"$\varepsilon$", "λ": r"$\lambda$", "σ": r"$\sigma$"}


def refuse_what_cannot_be_written(also: Collection[Format]) -> None:
    """Say before anything is computed that a package is missing.

    Raises:
        ValueError: Parquet is asked for, and pyarrow is not there.
    """
    if "parquet" in also and find_spec("pyarrow") is None:
        raise ValueError("parquet is written by pyarrow, which is not there: pip install -e '.[tables]'")


def write_table(path: Path, raw: pd.DataFrame, also: Collection[Format]) -> None:
    """Write `raw` as `path`.csv, and as `path`.parquet if that is asked for."""
    write_whole(path.with_name(f"{path.name}.csv"), csv_text(raw))
    if "parquet" in also:
        buffer = io.BytesIO()
        of_one_kind(raw).to_parquet(buffer, index=False)
        write_whole(path.with_name(f"{path.name}.parquet"), buffer.getvalue())


def of_one_kind(table: pd.DataFrame) -> pd.DataFrame:
    """The table, with text in columns that hold numbers beside text (`restart` is a number or `best`)."""
    table = table.reset_index(drop=True)
    for name in table:
        if table[name].dropna().map(type).nunique() > 1:
            table[name] = table[name].map(str, na_action="ignore")
    return table


def latex(readable: pd.DataFrame) -> str:
    """The table as people read it, for `booktabs`; its Greek letters need no other font or engine."""
    table = readable.reset_index(drop=True)
    style = table.style.hide(axis="index").format(escape="latex", na_rep="", precision=3)
    text: str = style.format_index(escape="latex", axis="columns").to_latex(hrules=True)
    for letter, command in GREEK.items():
        text = text.replace(letter, command)
    return text
