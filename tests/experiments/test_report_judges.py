"""Judges beside each other, from hits made up by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score
from test_report_worst_case import N, row

from experiments.report.analysis import Analysis
from experiments.report.document import Items, Table
from experiments.report.results import Results
from experiments.report.sections import judges as section
from experiments.report.statistics.judges import agreements, verdicts

NONE = {"defence": "none", "strength": ""}


def study(hits: dict[str, tuple[int, int]]) -> Any:
    """For each judge how many of 40 it identifies undefended and protected; always the first ones."""
    rows = [
        row("black_box", count, oracle=name, **where)
        for name, counts in hits.items()
        for count, where in zip(counts, (NONE, {}), strict=True)
    ]
    lines = [
        {**one, "row": image, "identity": image // 2, "correct": int(image < one["hits"])}
        for one in rows
        for image in range(N)
    ]
    best, per_image = pd.DataFrame(rows), pd.DataFrame(lines)
    said = verdicts(best, per_image, list(hits))
    results = SimpleNamespace(per_image=per_image)
    return SimpleNamespace(best=best, results=results, judges=list(hits), verdicts=said)


def test_agreement_is_cohens_kappa_over_all_reconstructions() -> None:
    found = study({"one": (30, 10), "two": (20, 16)})
    lines = found.results.per_image
    (agreement,) = agreements(lines, found.judges)
    columns = [lines[lines["oracle"] == name]["correct"] for name in ("one", "two")]
    assert agreement.images == 2 * N
    assert agreement.share == pytest.approx(1 - 16 / 80)
    assert agreement.kappa == pytest.approx(cohen_kappa_score(*columns))


def test_a_verdict_on_which_judges_disagree_is_a_doubt() -> None:
    found = study({"one": (36, 4), "two": (12, 12)})
    table = found.verdicts.set_index("oracle")
    assert table["verdict"].to_dict() == {"one": "lower", "two": "no difference shown"}
    (doubt,) = section.doubts(found)
    assert doubt.startswith("The judges disagree on Crafter β = 1")
    assert not list(section.doubts(study({"one": (36, 4), "two": (30, 4)})))


def test_a_judge_who_cannot_tell_decides_nothing_where_another_can(tmp_path: Path) -> None:
    """One who names more reconstructions than photographs raises what is found undefended: all of that drop
    would be called protection."""
    clean = {"weak": 0.4, "good": 0.95}
    found = study({"weak": (32, 8), "good": (16, 15)})
    rows = found.best.assign(restart="best", curve_only=False, n_identities=400, access="black")
    rows = rows.assign(clean_acc=rows["oracle"].map(clean))
    results = Results(
        tmp_path, {"scenario": "development", "defences": {}}, [], rows, found.results.per_image, []
    )
    analysis = Analysis(results, tmp_path)
    assert {item.oracle for item in analysis.checks if not item.passed} == {"weak"}
    assert set(analysis.summary["worst_oracle"]) == {"good"}
    assert set(analysis.protection["verdict"]) == {"no difference shown"}
    assert set(analysis.every["oracle"]) == {"weak", "good"}, "the table of all attacks has both"


def test_one_judge_agrees_with_nobody() -> None:
    alone = study({"one": (36, 4)})
    assert not list(section.blocks(alone))
    assert not list(section.doubts(alone))


def test_each_judge_has_its_columns() -> None:
    _, items, table = section.blocks(study({"one": (36, 4), "two": (30, 4)}))
    assert isinstance(items, Items)
    assert isinstance(table, Table)
    (line,) = table.readable.to_dict("records")
    assert (line["leak by one"], line["leak by two"]) == ("lower", "lower")
    assert line["identified by two"].startswith("10.0%")
