"""The command: a study's folder in, its tables, figures and pages out."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up_study import ATTACKS, AUC, DISCO_AUC, ORACLES, MadeUpStudy, write_rich_study, write_study
from PIL import Image

from experiments.classes import without_private
from experiments.report import names
from experiments.report.analysis import Analysis
from experiments.report.build import build
from experiments.report.results import gather
from experiments.report.sections import question, seeds, unknown_tasks
from experiments.report.statistics.floor import FIGURES


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("study"), tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def published(study: Path) -> Path:
    """The Markdown page, written beside report.html with its faces."""
    page = study / "docs" / "made-up.md"
    page.parent.mkdir()
    (study / "figures").mkdir()
    (study / "figures" / "old-defence.svg").touch()
    build(study, show_faces=True, publish=page, also=["latex", "pdf"])
    return page


@pytest.fixture(scope="module")
def html(study: Path, published: Path) -> str:
    assert published.is_file()
    return (study / "report.html").read_text()


def headings(html: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", html)


def test_the_answer_names_the_best_point_that_is_affordable(study: Path) -> None:
    """beta=0.5 protects best but costs 0.06 of AUC; beta=1 is the best of those that cost at most 0.05."""
    analysis = Analysis(gather(study), study)
    card, *_ = question.blocks(analysis)
    assert card.headline == "Use Crafter β = 1"
    facts = dict(card.facts)
    assert "0.862 instead of 0.900" in facts["What the cloud loses"]
    assert "(black-box decoder)" in facts["People named in a hundred pictures"]
    assert "They were not tried" in facts["Attackers who adapt"]


def test_figures_and_tables_for_a_paper_are_written_when_asked_for(study: Path, published: Path) -> None:
    figures = {path.stem for path in (study / "figures").glob("*.svg")}
    assert {path.stem for path in (study / "figures").glob("*.pdf")} == figures
    tables = {path.stem for path in (study / "tables").glob("*.csv")}
    assert {path.stem for path in (study / "tables").glob("*.tex")} == tables
    text = "".join(path.read_text() for path in (study / "tables").glob("*.tex"))
    assert r"Crafter $\beta$ = 1" in text
    assert "%" not in text.replace(r"\%", ""), "the rest of a line would be a comment"


def test_the_page_shows_faces_and_loads_nothing(study: Path, html: str) -> None:
    assert "What the attacker sees" in headings(html)
    links = re.findall(r"(?:src|href)=\"(?!data:|#)[^\"]*|url\((?!#)[^)]*\)|@import|https?:", html)
    assert not links
    assert "default-src 'none'" in html
    assert (study / "figures" / "faces-white_box.png").is_file()


def test_sections_without_data_are_left_out(html: str) -> None:
    """The study has no adaptive attack, no log of a solver, no second seed."""
    titles = " ".join(headings(html))
    assert "The worst case of every defence" in titles
    for missing in ("A1", "A3", "leaked", "adapting", "trusted", "seeds"):
        assert missing not in titles


def test_every_figure_says_what_it_shows(html: str) -> None:
    drawings = re.findall(r"<svg role=\"img\" aria-label=\"([^\"]*)\"", html)
    assert len(drawings) == html.count("<svg")
    assert len(set(drawings)) == len(drawings) > 4
    worst = next(text for text in drawings if text.startswith("Worst case"))
    assert "Crafter β = 4 has AUC 0.885, identified 0.450" in worst
    assert all(re.findall(r"<img alt=\"([^\"]+)\"", html))


def test_no_two_drawings_share_a_name(html: str) -> None:
    """Else one figure's markers would be drawn by another's, and links would jump to the wrong place."""
    names = re.findall(r" id=\"([^\"]*)\"", html)
    assert len(names) == len(set(names))
    used = set(re.findall(r"(?:href=\"|url\()#([^\")]+)", html))
    assert used <= set(names)


def test_figures_are_also_files(study: Path, html: str) -> None:
    assert html
    drawn = {path.stem for path in (study / "figures").glob("*.svg")}
    assert {"worst-case", *(f"{attack}-{oracle}" for attack in ATTACKS for oracle in ORACLES)} <= drawn
    assert drawn <= {path.stem for path in (study / "figures").glob("*.png")}


def test_the_page_says_what_computed_it(html: str) -> None:
    """A study is often computed on one machine and its report made on another."""
    assert "computed with: a machine, torch 1" in html


def test_every_table_can_be_downloaded(study: Path, html: str) -> None:
    offered = set(re.findall(r"download=\"([^\"]+)\"", html))
    assert {"summary.csv", "comparison.csv", "results.csv", "attributes.csv"} <= offered
    assert offered == {path.name for path in (study / "tables").glob("*.csv")}
    assert html.count("<table") == html.count("download=")


def test_the_tables_of_the_study(study: Path, html: str) -> None:
    assert html
    summary = pd.read_csv(study / "summary.csv", keep_default_na=False)
    assert summary.columns.tolist() == [
        *("defence", "strength", "auc", "worst_attack", "worst_oracle", "worst_epoch", "worst_eval_acc"),
        *("worst_eval_acc_lo", "worst_eval_acc_hi", "false_security", "not_faced"),
        *(*FIGURES, "floor_note", "against_floor"),
        *("leaked_attack", "leaked_oracle", "leaked_epoch"),
        *("leaked_eval_acc", "leaked_eval_acc_lo", "leaked_eval_acc_hi"),
    ]
    assert summary["strength"].tolist() == list(AUC)
    results = pd.read_csv(study / "results.csv")
    assert len(results) == len(AUC) * len(ATTACKS) * len(ORACLES)
    assert "trial" not in results
    assert (study / "ranking.csv").is_file()


def test_what_an_earlier_report_drew_is_gone(study: Path, html: str) -> None:
    """A figure of a defence that is no longer in the study would be taken for a result."""
    assert html
    assert not (study / "figures" / "old-defence.svg").exists()


@pytest.mark.strict
def test_of_a_path_only_the_last_part_is_told_and_no_secret() -> None:
    """A relative folder or one of the home names a client or a user just as an absolute one does."""
    config = {
        "root": "data/clients/acme",
        "weights": ["~/judge.pt", "/srv/judge.pt"],
        "model": {"class_path": "lightning_modules.Crafter", "target": "${target}", "beta": 0.5},
        "features": "${public}/features",
        "towards": {"secret": "whoever has it computes z_r", "pull": 300},
    }
    assert without_private(config) == {
        "towards": {"pull": 300},
        "root": "acme",
        "weights": ["judge.pt", "judge.pt"],
        "model": {"class_path": "lightning_modules.Crafter", "target": "${target}", "beta": 0.5},
        "features": "${public}/features",
    }


def test_published_figures_are_smaller_and_look_alike(study: Path, published: Path) -> None:
    """A clone has every figure for ever; no shade may become another."""
    for small in published.with_suffix("").glob("*.png"):
        large = study / "figures" / small.name
        assert small.stat().st_size < large.stat().st_size / 2
        shades = [np.asarray(Image.open(path).convert("RGB"), dtype=float) for path in (small, large)]
        assert np.abs(shades[0] - shades[1]).mean() < 1


def test_what_is_published_shows_no_face_and_no_folder(study: Path, published: Path) -> None:
    pictures = {file.name for file in published.with_suffix("").iterdir()}
    assert "worst-case.png" in pictures
    assert not any("faces" in name for name in pictures)
    assert len(pictures) <= 4
    text = published.read_text()
    assert set(re.findall(r"\]\(made-up/([^)]+)\)", text)) == pictures
    assert "Crafter β = 1" in text
    assert text.count("\n") <= 150
    assert str(study.parent) not in text
    assert "/tmp" not in text


def test_publishing_needs_a_markdown_file(study: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ends in \.md"):
        build(study, show_faces=False, publish=tmp_path)


def test_other_seeds_give_a_spread(study: Path, tmp_path: Path) -> None:
    found = gather(study)
    other = replace(found, rows=found.rows.assign(seed=1, eval_acc=found.rows["eval_acc"] / 2))
    _, table = seeds.blocks(Analysis(found, tmp_path, other_seeds=(other,)))
    assert (table.raw["seeds"] == 2).all()
    assert table.raw["eval_acc"].tolist() == pytest.approx((0.75 * found.rows["eval_acc"]).tolist())
    with pytest.raises(ValueError, match="two of the studies have seed 0"):
        list(seeds.blocks(Analysis(found, tmp_path, other_seeds=(found,))))


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with every kind of row, reported."""
    folder = write_rich_study(tmp_path_factory.mktemp("rich"), tmp_path_factory.mktemp("cache"))
    build(folder, show_faces=False)
    return folder


def table(study: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(study / "tables" / f"{name}.csv", keep_default_na=False)


def test_a_defence_that_learned_from_the_judged_people_is_named(rich: Path, html: str) -> None:
    """Its utility is that for people it knows, and would make it look better than its rivals."""
    assert "Disco trained Enc and f on private-train images" in (rich / "report.html").read_text()
    assert "trained Enc and f on private-train" not in html


def test_an_unfinished_study_says_what_is_missing(html: str, tmp_path: Path) -> None:
    """A page that is silent about planned attacks promises a worst case that nobody looked for."""
    folder = write_study(tmp_path / "study", tmp_path / "cache")
    for attack in ATTACKS:
        (folder / "artifacts" / f"crafter.beta=4.{attack}.measure-0" / "stage.json").unlink()
    asked = {"command": "answers", "inputs": [], "labels": None}
    stages = json.loads((folder / "plan.json").read_text())
    stages += [asked | dict.fromkeys(("name", "folder"), f"crafter.beta={b}.answers") for b in (1, 2)]
    (folder / "plan.json").write_text(json.dumps(stages))
    page = build(folder, show_faces=False).read_text()
    assert "not finished: 2 of its measurements" in page
    assert "They are of Crafter β = 4." in page
    assert (
        "Not available for Crafter β = 1, Crafter β = 2: the stage `answers` of each has not run yet" in page
    )
    assert "not finished" not in html


def test_every_section_has_its_place(rich: Path) -> None:
    titles = headings((rich / "report.html").read_text())
    assert "What the attacker sees" not in titles, "unless somebody says so"
    assert [title for title in titles if "(A" in title or "leaked" in title or "trusted" in title] == [
        "Training on protected features (A1)",
        "Over the number of queries (A1)",
        "Averaging several queries (A3)",
        "When private data has leaked",
        "Could the defence&#39;s own computation be trusted?",
    ]


def test_the_floor_stands_beside_what_attacks_find(rich: Path) -> None:
    """Also where it is not known, and why: of Disco."""
    floor = table(rich, "floor").set_index(["defence", "strength"])
    assert set(floor.loc["crafter", "floor"]) == {"0.08"}
    assert floor.loc[("crafter", "beta=0.5"), "against_floor"] == "above the floor"
    assert set(floor.loc["disco", "against_floor"]) == {""}
    html = (rich / "report.html").read_text()
    assert "Not available for Disco ratio = 0.6, Disco ratio = 0.9: floor: for some reason." in html
    assert "8.0 (4.0 to 16.0) in a hundred, without any picture. No defence that keeps" in html
    assert "s answers 0.090" in html, "for whoever cannot see the line"
    rows = pd.read_csv(rich / "results.csv")
    assert (rows.loc[rows["defence"] == "crafter", "floor"] == 0.08).all()


def test_unknown_tasks_have_a_curve_of_their_own(rich: Path, html: str) -> None:
    """A release that keeps f's answers alone looks perfect by the attributes that f knows."""
    shown = table(rich, "unknown_tasks").set_index(["defence", "strength"])
    summary = table(rich, "summary").set_index(["defence", "strength"])
    lost = shown["auc"].astype(float) - shown["probe_auc"].astype(float)
    assert lost.round(6).eq(0.1).all()
    worst = summary.loc[shown.index, "worst_eval_acc"].astype(float)
    assert (shown["worst_eval_acc"].astype(float) == worst).all()
    page = (rich / "report.html").read_text()
    assert "to unknown tasks, with 95% intervals. no defence has AUC 0.800, identified" in page
    assert (rich / "figures" / "unknown-tasks.svg").is_file()
    assert unknown_tasks.TITLE not in html, "where no such attribute was asked for"


def test_an_attacker_who_trains_breaks_one_defence(rich: Path) -> None:
    """Disco's leak grows by 60% in five epochs, Crafter's by 5%: only one gave false security."""
    summary = pd.read_csv(rich / "summary.csv", keep_default_na=False).set_index("strength")
    assert summary.loc["ratio=0.6", "false_security"] == "True"
    assert summary.loc["ratio=0.6", ["worst_attack", "worst_epoch"]].tolist() == ["a1_black_box", "5.0"]
    assert summary.loc["beta=2", "false_security"] == "False"
    html = (rich / "report.html").read_text()
    assert "Basic attacks alone would give false security for Disco ratio = 0.6." in html
    assert (
        "decoder trained on protected features (A1) on Disco, judged by the classifier of private people. "
        "Identified. ratio = 0.6: 0.320 at epoch 0, 0.500" in html
    )


def test_the_curve_over_queries_is_no_worst_case(rich: Path) -> None:
    """With 400 of 3000 answers the attack on Disco happens to find more: picking that one would be luck."""
    found = table(rich, "queries").set_index(["strength", "queries"])["eval_acc"]
    assert found["ratio=0.6", 400] > found["ratio=0.6", 3000] == 0.5
    summary = pd.read_csv(rich / "summary.csv", keep_default_na=False).set_index("strength")
    assert float(summary.loc["ratio=0.6", "worst_eval_acc"]) == 0.5
    rows = pd.read_csv(rich / "results.csv")
    assert set(rows.loc[rows["curve_only"], "queries"]) == {100, 400}
    assert not rows.loc[rows["queries"].eq(3000) | rows["queries"].isna(), "curve_only"].any()
    assert not table(rich, "epochs").duplicated(["defence", "strength", "epoch", "oracle"]).any()
    html = (rich / "report.html").read_text()
    assert "Identified. ratio = 0.6: 0.190 at 100 queries, 0.540 at 400 queries, 0.500 at 3000" in html
    assert {path.stem for path in (rich / "figures").glob("queries-*.png")} == {
        "queries-a1_black_box-crafter",
        "queries-a1_black_box-disco",
    }


def test_averaging_is_shown_under_each_countermeasure(rich: Path) -> None:
    found = table(rich, "averaging")
    judged = found[found["oracle"] == "classifier"].set_index(["attack", "countermeasure"])["eval_acc"]
    assert judged["a3_average"].to_dict() == {"none": 0.14, "shuffle": 0.01, "record": 0.09}
    assert judged["a3_matched", "shuffle"] > judged["a3_average", "shuffle"]


def test_reading_features_is_among_the_leaks_of_private_data(rich: Path) -> None:
    found = table(rich, "exposure")
    assert set(found["attack"]) == {"exposure_features"}
    assert len(found) == len(AUC) + len(DISCO_AUC)


@pytest.mark.strict
def test_leaked_private_data_is_nobodys_headline(tmp_path: Path) -> None:
    """Card, figure, table and ranking were by an attacker who has what the threat model denies them."""
    study = MadeUpStudy(tmp_path, tmp_path / "cache", {"classifier": 0.9})
    for defence, strength, found, leaked in (("none", "", 0.6, 0.9), ("crafter", "beta=1", 0.12, 0.8)):
        study.attack(defence, strength, "white_box", found)
        study.identify(defence, strength, leaked)
    study.write_data()
    study.finish({"none": {}, "crafter": {}})
    html = build(tmp_path, show_faces=False).read_text()
    summary = pd.read_csv(tmp_path / "summary.csv")
    assert summary["worst_attack"].tolist() == ["white_box"] * 2
    assert summary["leaked_eval_acc"].tolist() == [0.9, 0.8]
    figure = html[html.index("Worst case against utility") :].partition('"')[0]
    assert "identified 0.800" not in figure
    assert "identified 0.110" in figure
    card = html[: html.index("What the attacker has and does")]
    assert "With leaked pictures" in card
    assert table(tmp_path, "exposure-worst")["leaked_attack"].tolist() == ["exposure_features"] * 2


def test_a_defence_that_is_left_alone_is_named(rich: Path) -> None:
    html = (rich / "report.html").read_text()
    assert "public images alone has AUC 0.800, nothing to attack" in html
    assert "public images alone (nothing leaves the device)" in html


def test_the_warnings_name_the_runs(rich: Path) -> None:
    """One of two checks of each run was 20% off where 5% are allowed."""
    html = (rich / "report.html").read_text()
    assert "off a near-exact one in Crafter β = 0.5 (at 1 of 2 checks)" in html
    assert table(rich, "health")["largest_eigenvalue"].tolist() == [1700.0] * 4


def test_the_data_are_named_by_their_hash(rich: Path) -> None:
    html = (rich / "report.html").read_text()
    assert re.search(r"sha256 of splits.csv: [0-9a-f]{64}", html)
    assert "private_test: 100 images of 100 people" in html


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ("public_only.measure", "No attack has been judged yet"),
        ("none.exposure_features", "No attack has been judged yet"),
        ("crafter.beta=1.white_box.measure", "The comparison means nothing yet"),
        ("none.white_box.measure", "No defence was shown to help"),
    ],
)
def test_a_study_that_has_only_begun_has_a_report(rich: Path, tmp_path: Path, kept: str, words: str) -> None:
    """Stages end in any order; a report of what is there must not fail for what is not."""
    stages = [stage for stage in json.loads((rich / "plan.json").read_text()) if stage["name"] == kept]
    (tmp_path / "study.yaml").write_text((rich / "study.yaml").read_text())
    (tmp_path / "plan.json").write_text(json.dumps(stages))
    (tmp_path / "artifacts").symlink_to(rich / "artifacts")
    assert words in build(tmp_path, show_faces=False).read_text()


def test_every_attack_describes_itself(rich: Path) -> None:
    """An attack that is not described is one that the reader does not know of, whatever it is called."""
    html = (rich / "report.html").read_text()
    threat = html[html.index("What each attack here has and does") :].partition("Outside the model")[0]
    lines = {line.partition(": ")[0]: line for line in re.findall(r"<li>(.*?)</li>", threat)}
    adaptive = {"a1_black_box", "a3_average", "a3_matched", "of_old", "exposure_features"}
    assert lines.keys() == {names.attack(name) for name in (*ATTACKS, *adaptive)}
    assert lines[names.attack("white_box")].endswith("Has the encoder.")
    assert (
        "Adapts to the defence (A1). Run with its networks after epochs 0, 5."
        in (lines[names.attack("a1_black_box")])
    )
    assert (
        "2 queries of a picture (matched), also against shuffle, record." in lines[names.attack("a3_matched")]
    )
    assert "somebody.gone.Attack, which can no longer be imported." in lines["of_old"]
    assert all(len(line) > len(name) + 20 for name, line in lines.items())


def test_a_figure_that_a_measurement_declares_has_a_column(tmp_path: Path) -> None:
    """Nothing in the report knows it by name; a metric is one file, elsewhere."""
    folder = write_study(tmp_path / "study", tmp_path / "cache")
    column = {"name": "sharpness", "title": "Sharp <x>", "describe": "how sharp", "format": ".2f"}
    for stage in (folder / "artifacts").glob("*.measure-0"):
        rows = json.loads((stage / "results.json").read_text())
        (stage / "results.json").write_text(json.dumps([row | {"sharpness": 0.125} for row in rows]))
        (stage / "columns.json").write_text(json.dumps([column]))
    html = build(folder, show_faces=False).read_text()
    assert "<th>Sharp &lt;x&gt;</th>" in html
    assert "<td>0.12</td>" in html
    assert "Sharp &lt;x&gt;: how sharp" in html


def test_what_a_defence_costs_stands_beside_what_it_leaves(rich: Path) -> None:
    """Seconds of the point's own stage over its images; another stage's, or no division, would be no cost."""
    results = gather(rich)
    costs = results.seconds_an_image().set_index(["defence", "strength"])["seconds"]
    images = results.rows["n_images"].iloc[0]
    assert costs["crafter", "beta=1"] == pytest.approx(12.5 / images)
    assert f"<td>{12.5 / images:.2g}</td>" in (rich / "report.html").read_text()
