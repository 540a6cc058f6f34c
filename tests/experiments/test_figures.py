"""Figures that have to be read on white and on black, by everybody."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from datamodules import SyntheticFaces
from experiments.report.document import Figures
from experiments.report.plotting import COLOURS, INK, PAPER, Figure, drawing, styles
from experiments.report.rendering import html
from experiments.report.results import Results
from experiments.report.sections import contact_sheets as sheets
from experiments.report.tradeoff import draw_tradeoff, joined_and_apart
from facecrafter.store import TensorStore


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2)."""
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.03928 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("paper", ["#ffffff", "#121212"])
def test_every_colour_stands_out_on_white_and_on_black(colour: str, paper: str) -> None:
    """WCAG 2 asks for a contrast of 3 to 1 of what is needed to understand a graphic."""
    bright, dark = sorted([luminance(colour), luminance(paper)], reverse=True)
    assert (bright + 0.05) / (dark + 0.05) >= 3


def test_styles_differ_without_their_colours() -> None:
    """For whoever sees no colours, a marker or a dash has to tell any two defences apart."""
    names = [f"defence{number}" for number in range(12)]
    found = styles(["none", *names])
    for first, second in itertools.combinations(found.values(), 2):
        assert (first["marker"], first["linestyle"]) != (second["marker"], second["linestyle"])


def test_points_of_many_defences_differ() -> None:
    """A point has no dashes: two of the same colour and marker would be one defence to the reader."""
    found = styles([f"defence{number}" for number in range(20)])
    assert len({(style["color"], style["marker"]) for style in found.values()}) == len(found)


def test_a_name_keeps_its_style_whatever_is_drawn_beside_none() -> None:
    assert styles(["none", "a", "b"]) == styles(["a", "none", "b"])


@pytest.fixture
def figure(tmp_path: Path) -> Figure:
    path = tmp_path / "a-drawing.svg"
    with drawing(path) as axes:
        axes.plot([0, 1], [0, 1], marker="o", color=INK)
        axes.text(0.5, 0.5, "0.00125", color=PAPER)
    return Figure(path, "A line.", 'It rises from "0" to 1.')


def test_a_page_draws_in_the_readers_colours(figure: Figure) -> None:
    drawn = html(Figures([figure]))
    assert "currentColor" in drawn
    assert "Canvas" in drawn
    assert INK not in drawn
    assert 'aria-label="It rises from &quot;0&quot; to 1."' in drawn


def test_numbers_that_are_read_keep_their_digits(figure: Figure) -> None:
    """Coordinates are shortened, and a label of 0.00125 would be a wrong number as 0.00."""
    drawn = html(Figures([figure]))
    assert ">0.00125</text>" in drawn
    assert not re.search(r'd="[^"]*\d\.\d{3}', drawn)
    assert len(drawn) < len(figure.path.read_text())


def test_a_drawing_keeps_its_links_under_its_own_name(figure: Figure) -> None:
    drawn = html(Figures([figure]))
    assert 'href="#a-drawing-' in drawn
    assert 'id="figure_1"' not in drawn
    assert "<style" not in drawn


def test_the_same_drawing_is_the_same_file(figure: Figure, tmp_path: Path) -> None:
    """Else every report would look changed to whoever keeps them under version control."""
    before = figure.path.read_bytes()
    with drawing(figure.path) as axes:
        axes.plot([0, 1], [0, 1], marker="o", color=INK)
        axes.text(0.5, 0.5, "0.00125", color=PAPER)
    assert figure.path.read_bytes() == before
    assert (tmp_path / "a-drawing.png").is_file()


def test_a_drawing_for_which_there_is_no_room_is_named(figure: Figure, small_disk: dict[str, Any]) -> None:
    """matplotlib's own error names no file; and half a drawing would stay where the whole one was."""
    before = figure.path.read_bytes()
    small_disk["room"] = 100
    with pytest.raises(OSError, match="No space left") as full, drawing(figure.path) as axes:
        axes.plot([0, 1], [0, 2])
    assert full.value.filename == str(figure.path)
    assert figure.path.read_bytes() == before


@pytest.mark.strict
def test_reconstructions_stand_below_their_own_faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where only some of the private-test images were protected: an attack that finds every face has the
    same row of faces."""
    config = {"n_identities": 20, "images_per_identity": 5, "image_size": 32, "private_identities": 15}
    config |= {"predict_limit": 8, "cache_dir": str(tmp_path / "cache")}
    data = SyntheticFaces(**config)
    data.prepare_data()
    data.setup()
    protected = data.protected_faces()
    images = protected.images(range(8))
    meta = {
        "kind": "reconstructions",
        "shape": [1, 3, 32, 32],
        "dtype": "float32",
        "encoder": "",
        "batches": 1,
    }
    store = TensorStore.create(tmp_path / "attack" / "reconstructions", meta)
    shuffled = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    store.write(0, row=protected.rows[shuffled], images=images[shuffled, None], losses=torch.zeros(8, 1))
    labels = {"defence": "none", "strength": "", "attack": "white_box", "countermeasure": "none"}
    stages = [
        {"name": "attack", "command": "attack", "folder": "attack", "inputs": [], "labels": None},
        {"name": "m", "command": "measure", "folder": "m", "inputs": ["attack"], "labels": labels},
    ]
    study = {"data": {"class_path": "datamodules.SyntheticFaces", "init_args": config}}
    drawn: list[dict[str, Tensor]] = []
    monkeypatch.setattr(sheets, "_sheet", lambda attack, lines, path: drawn.append(lines))
    sheets.contact_sheets(Results(tmp_path, study, stages, pd.DataFrame(), pd.DataFrame(), []), tmp_path)
    (lines,) = drawn
    torch.testing.assert_close(lines["no defence"], lines["private faces"])


@pytest.mark.parametrize("floor", [0.137, float("nan"), None])
def test_the_floor_is_drawn_where_it_was_measured(floor: float | None, tmp_path: Path) -> None:
    """Without it a defence that leaves what f's answers give away, as all do that keep them, looks as if it
    leaked; at another height one that leaks looks as if it did not."""
    shares = {"value": 0.4, "value_lo": 0.3, "value_hi": 0.5, "auc": 0.8, "auc_lo": 0.7, "auc_hi": 0.9}
    points = pd.DataFrame([{"defence": "crafter", "strength": "beta=1", **shares}])
    reference = pd.Series(
        {"clean_acc": 0.9, "n_identities": 50} | ({} if floor is None else {"floor_raw": floor})
    )
    with drawing(tmp_path / "a-drawing.svg") as axes:
        draw_tradeoff(axes, points, "value", reference)
        across = {line.get_label(): set(line.get_ydata()) for line in axes.lines if len(line.get_xdata()) > 1}
    found = {label: heights for label, heights in across.items() if "answers" in str(label)}
    assert found == ({"f's answers (13.7%)": {0.137}} if floor == 0.137 else {})


def test_points_that_escaped_the_worst_attack_are_hollow_and_apart() -> None:
    """Also where all of a defence did: a solid line would invite the comparison."""
    points = pd.DataFrame({"auc": [0.8, 0.9], "not_faced": ["", "progressive"]})
    (joined, look), (apart, hollow) = joined_and_apart(points)
    assert (joined["auc"].tolist(), look) == ([0.8], {})
    assert (apart["auc"].tolist(), hollow["markerfacecolor"]) == ([0.9], "none")
    ((_, hollow),) = joined_and_apart(points.assign(not_faced="progressive"))
    assert hollow["linestyle"] == "none"
    ((_, look),) = joined_and_apart(points[["auc"]])
    assert look == {}
