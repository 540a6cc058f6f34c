"""The pages of docs/own: what they show, copied into an empty folder, runs as they say."""

from __future__ import annotations

import csv
import os
import re
import runpy
import shlex
from pathlib import Path

import pytest

from experiments.study.__main__ import parse
from experiments.study.carry_out import run

PAGES = Path(__file__).parents[1] / "docs" / "own"
FILE = re.compile(r"`(\w+\.(?:py|yaml))`(?:(?!\n\n).)*\n\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)
"""A file's name, in the paragraph before its content."""
COMMAND = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHOWS = {
    "defence": ("defence", {"none", "dropped"}),
    "attack": ("attack", {"black_box", "jittered"}),
    "data": ("dataset", {"my faces"}),
    "metric": ("mean_error", None),
    "judge": ("oracle", {"classifier", "coarse"}),
    "encoder": ("network", {"mine"}),
}


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one page has computed, no other page computes again."""
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `python -m` would find the files of the page."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path


def test_every_page_is_run() -> None:
    assert {page.stem for page in PAGES.glob("*.md")} - {"README"} == SHOWS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", SHOWS)
def test_a_page_runs_as_it_stands(
    name: str, empty_folder: Path, artifacts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (PAGES / f"{name}.md").read_text()
    for file, content in FILE.findall(page):
        (empty_folder / file).write_text(content)
    for shown in "".join(COMMAND.findall(page)).splitlines():
        python, *command = shlex.split(shown)
        assert python == "python"
        if command[:2] == ["-m", "experiments.study"]:
            # In this process, which has imported everything; its stages are processes as ever.
            line = [*command[2:], "--artifacts", str(artifacts), "--no-preflight"]
            assert run(**vars(parse(line))) == 0, capsys.readouterr()
        else:
            runpy.run_path(command[0])
    (results,) = empty_folder.glob("studies/*/results.csv")
    column, expected = SHOWS[name]
    found = {row[column] for row in csv.DictReader(results.open())}
    assert found == expected if expected else all(float(value) > 0 for value in found)
