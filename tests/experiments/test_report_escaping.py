"""Names are a user's text: whatever they are, they are shown, and nothing in a report carries them out."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from made_up_study import MadeUpStudy

from experiments.report.build import build
from experiments.report.document import Card, Code, Fact, Items, Table, Text
from experiments.report.formats import csv_text
from experiments.report.plotting import file_name
from experiments.report.reading import plan
from experiments.report.rendering import html, markdown

DEFENCE = "<script>alert(1)</script>|**b**"
ATTACK = '=HYPERLINK("x")|[a](b)\n# $\\foo$'
TWIN = ATTACK.replace("#", "$")
JUDGE = "@judge` <img src=x>"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    made = MadeUpStudy(folder, tmp_path_factory.mktemp("cache"), {JUDGE: 0.9})
    for attack in (ATTACK, TWIN):
        for defence, strength, leak in (
            ("none", "", 0.6),
            (DEFENCE, "beta=1", 0.1),
            (DEFENCE, "beta=4", 0.5),
        ):
            made.attack(defence, strength, attack, leak)
    made.finish({"none": {}, DEFENCE: {}}, {ATTACK: {"class_path": "<b>gone</b>.Attack"}})
    build(folder, show_faces=True, publish=folder / "page.md")
    return folder


class Tags(HTMLParser):
    """Collects the elements of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]


def test_no_name_becomes_part_of_the_web_page(study: Path) -> None:
    page = (study / "report.html").read_text()
    assert not Tags(page).found & {"script", "b", "iframe"}
    assert "&lt;script&gt;alert(1)&lt;/script&gt;|**b** β = 1" in page
    assert 'src="x' not in page
    assert "src=x>" not in page


def test_no_name_becomes_part_of_the_markdown_page(study: Path) -> None:
    page = (study / "page.md").read_text()
    assert "<" not in page
    assert "[a](b)" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\|\\*\\*b\\*\\* β = 1" in page
    headings = [line for line in page.splitlines() if line.startswith("#")]
    assert not [line for line in headings if "foo" in line]
    rows = [re.sub(r"\\\|", "", line).count("|") for line in page.splitlines() if line.startswith("|")]
    assert len(set(rows[:5])) == 1, "a name with a bar adds no cell"


def test_a_published_page_finds_its_figures(study: Path) -> None:
    """A name with a slash would put a figure into another folder, or nowhere."""
    links = re.findall(r"\]\(page/([^)]+)\)", (study / "page.md").read_text())
    assert set(links) == {file.name for file in (study / "page").iterdir()}
    assert len(links) == 3


def test_names_that_differ_only_in_odd_characters_have_figures_of_their_own() -> None:
    assert len({file_name("a/b"), file_name("a b"), file_name("a_b")}) == 3
    assert file_name("a1_black_box", "classifier") == "a1_black_box-classifier"
    assert re.fullmatch(r"[\w.-]+", file_name("../<x>", ATTACK))


def test_a_spreadsheet_carries_out_no_cell_of_a_table(study: Path) -> None:
    for path in [*study.glob("*.csv"), *(study / "tables").glob("*.csv")]:
        for line in csv.reader(path.read_text().splitlines()):
            for cell in line:
                assert not cell.startswith(("=", "@", "\t", "\r")), path
    worst = pd.read_csv(study / "summary.csv")["worst_attack"].dropna()
    assert set(worst) <= {f"'{ATTACK}", f"'{TWIN}"}


def test_numbers_stay_numbers() -> None:
    """An apostrophe before -0.5 would make text of it, and a wrong sum of the column."""
    table = pd.DataFrame({"a": [-0.5, 1.0], "b": ["-0.5", "-x"], "c": [1, None], "d": ["\t1x", "@a"]})
    table["c"] = pd.Series([1, None], dtype=object)
    assert csv_text(table).splitlines() == ["a,b,c,d", "-0.5,-0.5,1,'\t1x", "1.0,'-x,,'@a"]


@pytest.mark.parametrize(
    ("block", "shown"),
    [
        (Text("# a\n- b"), "\\# a - b"),
        (Items(["1. a", "+ b", "-5.0 (-6 to -4)"]), "- 1\\. a\n- \\+ b\n- -5.0 (-6 to -4)\n"),
        (Card("white_box, _x_, a*b*", []), "**white_box, \\_x\\_, a\\*b\\***\n\n"),
        (Code("a ``` b", "yaml"), "````yaml\na ``` b\n````"),
        (
            Table(pd.DataFrame({"a|b": ["c\nd", None]}), "t", pd.DataFrame()),
            "| a\\|b |\n| --- |\n| c d |\n|  |\n",
        ),
    ],
)
def test_text_is_no_markup_to_markdown(block: Text, shown: str) -> None:
    assert markdown(block) == shown


def test_text_is_no_markup_to_html() -> None:
    assert html(Text("a < b & c")) == "<p>a &lt; b &amp; c</p>"
    assert "<dt>&lt;b&gt;</dt><dd>&lt;i&gt;</dd>" in html(Card("a", [Fact("<b>", "<i>")]))
    assert html(Items(["<b>"])) == "<ul>\n<li>&lt;b&gt;</li>\n</ul>"


def test_a_folder_that_no_file_system_has_is_named_with_its_plan(tmp_path: Path) -> None:
    """The system's error would name nothing but the folder."""
    stage = {"name": "x", "command": "fit", "folder": "9" * 5_000, "inputs": [], "labels": None}
    (tmp_path / "plan.json").write_text(json.dumps([stage]))
    with pytest.raises(ValueError, match=r"plan\.json: the folder '9+'\.\.\.: File name too long; delete it"):
        plan(tmp_path)
