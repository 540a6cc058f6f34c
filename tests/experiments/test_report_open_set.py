"""Verification and open-set search in the report: of images and of features, measured now and before."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from made_up_study import MadeUpStudy
from test_report_worst_case import outcomes, row

from experiments.report.build import build
from experiments.report.sections.worst_case import VERIFIED
from experiments.report.statistics.open_set import FIGURES, of_worst
from experiments.report.statistics.worst_case import adaptive_gains, summarise

OF_MATCHING = {
    **{"tar_at_far_1": 0.52, "tar_at_far_1_lo": 0.41, "tar_at_far_1_hi": 0.63},
    **{"tar_at_far_01": 0.27, "tar_at_far_01_lo": 0.18, "tar_at_far_01_hi": 0.39},
    **{"fnir_at_fpir_1": 0.71, "fnir_at_fpir_1_lo": 0.6, "fnir_at_fpir_1_hi": 0.8},
}
SHOWN = ("52.0% (41.0% to 63.0%)", "27.0% (18.0% to 39.0%)", "71.0% (60.0% to 80.0%)")
TITLES = ("verified at 1%", "verified at 0.1%", "not found at 1%")


def figures(value: float) -> dict[str, float]:
    return dict.fromkeys(FIGURES, value)


def test_the_figures_of_a_worst_case_are_those_of_its_attack_epoch_and_judge() -> None:
    """Those of another row would be of a weaker attack: a point would look safer than it is."""
    rows = [
        row("black_box", 8) | figures(0.1),
        row("a1_black_box", 12, adaptive="A1", epoch=0) | figures(0.2),
        row("a1_black_box", 20, adaptive="A1", epoch=5) | figures(0.3),
        row("a1_black_box", 16, adaptive="A1", epoch=5, oracle="embedding") | figures(0.4),
        row("a1_black_box", 30, adaptive="A1", epoch=5, countermeasure="shuffle") | figures(0.5),
        row("matching", 20, oracle="itself", strength="beta=2") | figures(0.6),
        row("linkage", 12, strength="beta=2") | figures(0.7),
        row("old", 20, strength="beta=3"),
        row("none", 0, strength="beta=4") | {"eval_acc": None},
    ]
    best = pd.DataFrame(rows)
    summary = summarise(best, adaptive_gains(best, outcomes(rows)))
    found = of_worst(summary, best).set_index(summary["strength"])
    assert (found.loc["beta=1"] == 0.3).all()
    assert (found.loc["beta=2"] == 0.6).all()
    assert found.loc[["beta=3", "beta=4"]].isna().all(axis=None), "what nobody measured is no figure"
    assert of_worst(summary, best.drop(columns=FIGURES)).isna().all(axis=None)


@pytest.fixture
def study(tmp_path: Path) -> MadeUpStudy:
    """A decoder that judges look at, and at its side, stronger, a comparison with photographs."""
    made = MadeUpStudy(tmp_path / "study", tmp_path / "cache")
    made.attack("none", "", "black_box", 0.5)
    made.attack("crafter", "beta=1", "black_box", 0.2)
    made.identify("none", "", 0.8, "matching", "none", **OF_MATCHING)
    return made


def pages(study: MadeUpStudy) -> tuple[str, list[str]]:
    """The page, and the lines of the short one."""
    study.finish({"none": {}, "crafter": {}}, identifications={"matching": {"identifier": "${raw_matcher}"}})
    short = study.folder.parent / "page.md"
    return build(study.folder, show_faces=False, publish=short).read_text(), short.read_text().splitlines()


def test_comparing_features_stands_beside_the_judges_on_both_pages(study: MadeUpStudy) -> None:
    """Whoever looks up verification would find that of images alone, which is the weaker."""
    study.identify("crafter", "beta=1", 0.5, "matching", "none", **OF_MATCHING)
    html, lines = pages(study)
    every = html[html.index('<section id="every-attack"') :]
    for shown in SHOWN:
        assert every.count(f"<td>{shown}</td>") == 2, "no defence and Crafter"
    assert "<td>30.0% (20.0% to 40.0%)</td>" in every, "by judges of images"
    (head,) = [line for line in lines if "| identified by the worst attack |" in line]
    assert all(f"| {title} |" in head.replace("\\", "") for title in TITLES)
    points = [line for line in lines if line.startswith(("| no defence |", "| Crafter β = 1 |"))]
    worst = [line for line in points if "comparison with features of photographs" in line]
    assert sum(all(shown in line for shown in SHOWN) for line in worst) == 2
    assert any("likelier the feature is if it is of this person" in line for line in lines)
    raw = pd.read_csv(study.folder / "tables" / "summary.csv")
    assert raw["worst_fnir_at_fpir_1_hi"].tolist() == [0.8, 0.8]


def test_results_of_before_are_shown_with_empty_cells(study: MadeUpStudy) -> None:
    """A study whose comparison was measured before it had such figures still has a report, and in that no
    figure of a weaker attack in their place."""
    study.identify("crafter", "beta=1", 0.5, "matching", "none")
    html, lines = pages(study)
    (line,) = [line for line in lines if line.startswith("| Crafter β = 1 |") and "comparison with" in line]
    assert "30.0% (20.0% to 40.0%)" not in line
    assert not any(shown in line for shown in SHOWN)
    assert all(shown in html for shown in SHOWN), "of no defence they are known"


def test_results_without_any_such_figure_have_no_column_for_them(tmp_path: Path) -> None:
    made = MadeUpStudy(tmp_path / "study", tmp_path / "cache")
    made.identify("none", "", 0.8, "matching", "none")
    made.identify("crafter", "beta=1", 0.5, "matching", "none")
    html, lines = pages(made)
    assert "verified at" not in html
    assert not any(VERIFIED in line for line in lines)
