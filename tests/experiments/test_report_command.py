"""Tables and conclusions from results made up by hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from made_up_study import ATTACKS, ORACLES, write_study

from experiments.findings import Findings, answer
from experiments.report import build
from experiments.tables import check, compare, gather, summarise


def row(defence: str, attack: str, eval_acc: float, **other: Any) -> dict[str, Any]:
    return {
        "defence": defence,
        "strength": "" if defence == "none" else "beta=1",
        "attack": attack,
        "access": "white" if attack.startswith("white") else "black",
        "adaptive": "none",
        "oracle": "classifier",
        "restart": "best",
        "clean_acc": 0.9,
        "n_identities": 50,
        "eval_acc": eval_acc,
        "eval_acc_lo": eval_acc - 0.05,
        "eval_acc_hi": eval_acc + 0.05,
        "auc": 0.9,
        **other,
    }


def test_the_summary_takes_the_strongest_attack_of_each_point() -> None:
    rows = pd.DataFrame(
        [row("crafter", "white_box", 0.1), row("crafter", "black_box", 0.3), row("none", "white_box", 0.5)]
    )
    summary = summarise(rows).set_index("defence")
    assert summary.loc["crafter", "worst_attack"] == "black_box"
    assert summary.loc["crafter", "worst_eval_acc_hi"] == pytest.approx(0.35)
    assert summary.loc["none", "worst_eval_acc"] == 0.5
    assert summary["false_security"].isna().all()


@pytest.mark.parametrize(("adaptive_acc", "expected"), [(0.12, False), (0.5, True)])
def test_false_security_is_an_adaptive_attack_beyond_the_intervals(
    adaptive_acc: float, expected: bool
) -> None:
    rows = pd.DataFrame(
        [row("disco", "black_box", 0.1), row("disco", "a1_black_box", adaptive_acc, adaptive="A1")]
    )
    assert summarise(rows)["false_security"].tolist() == [expected]


@pytest.mark.strict
def test_a_weak_undefended_attack_makes_the_comparison_meaningless() -> None:
    """8% of 50 people is far from chance to the eye, yet its lower bound is not 5 times chance."""
    rows = pd.DataFrame([row("none", "white_box", 0.08), row("none", "black_box", 0.6)])
    checks = check(rows)
    assert [item.passed for item in checks] == [True, False, True]
    assert "means nothing" in answer(summarise(rows), pd.DataFrame(), checks)


def test_paired_comparison_against_none() -> None:
    def images(defence: str, strength: str, correct: list[int]) -> pd.DataFrame:
        return pd.DataFrame(
            {"row": range(40), "identity": [i // 2 for i in range(40)], "correct": correct}
        ).assign(defence=defence, strength=strength, attack="white_box", oracle="classifier", restart="best")

    same, lower = [1] * 20 + [0] * 20, [1] * 2 + [0] * 38
    table = compare(
        pd.concat(
            [images("none", "", same), images("weak", "beta=9", same), images("strong", "beta=1", lower)]
        )
    ).set_index("defence")
    assert table.loc["weak", "verdict"] == "no difference shown"
    assert table.loc["strong", "verdict"] == "lower"
    assert table.loc["strong", "change"] == pytest.approx(-18 / 40)


def test_one_oracle_that_passes_is_enough() -> None:
    """A judge who knows nobody beside a good one cannot lower the worst case, so the answer stands."""
    good = [row("none", "white_box", 0.6), row("none", "black_box", 0.7)]
    blind = [{**line, "oracle": "blind", "eval_acc_lo": 0.01} for line in good]
    rows = pd.DataFrame([*good, *blind])
    checks = check(rows)
    assert {item.oracle for item in checks if not item.passed} == {"blind"}
    assert "means nothing" not in answer(summarise(rows), pd.DataFrame(), checks)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("study"), tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def published(study: Path) -> Path:
    """The Markdown page, written beside report.html with its faces."""
    page = study / "docs" / "made-up.md"
    page.parent.mkdir()
    build(study, show_faces=True, publish=page)
    return page


def test_the_answer_names_the_best_point_that_is_affordable(study: Path) -> None:
    """beta=0.5 protects best but costs 0.06 of AUC; beta=1 is the best of those that cost at most 0.05."""
    found = Findings.of(gather(study)).answer
    assert "under crafter beta=1 " in found
    assert "0.862 instead of 0.900" in found
    assert "black_box, judged by classifier" in found


def test_a_study_without_its_undefended_point_cannot_be_believed(study: Path) -> None:
    rows = gather(study).best()
    checks = check(rows[rows["defence"] != "none"])
    assert not any(item.passed for item in checks)
    assert "means nothing" in answer(summarise(rows[rows["defence"] != "none"]), pd.DataFrame(), checks)


@pytest.mark.usefixtures("published")
def test_the_page_shows_faces_and_loads_nothing(study: Path) -> None:
    html = (study / "report.html").read_text()
    assert "What the attacker sees" in html
    assert not re.findall(r"(?:src|href)=\"(?!data:)|url\(|@import", html)
    assert (study / "figures" / "faces-white_box.png").is_file()


@pytest.mark.strict
def test_what_is_published_shows_no_face_and_no_folder(study: Path, published: Path) -> None:
    curves = {f"{attack}-{oracle}.png" for attack in ATTACKS for oracle in ORACLES}
    assert {file.name for file in published.with_suffix("").iterdir()} == curves
    text = published.read_text()
    assert set(re.findall(r"\]\(made-up/([^)]+)\)", text)) == curves
    assert "crafter beta=1" in text
    assert str(study.parent) not in text
    assert "/tmp" not in text


def test_publishing_needs_a_markdown_file(study: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ends in \.md"):
        build(study, show_faces=False, publish=tmp_path)
