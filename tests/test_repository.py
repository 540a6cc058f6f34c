"""The repository stays small: what a command makes from a study is not kept in it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
PAGES = sorted(path for path in RESULTS.glob("*.md") if path.name != "README.md")
LARGEST, PUBLISHED = 300_000, 1_000_000  # bytes
LISTS_EVERY_FILE = "requirements.lock"


def test_no_file_is_large() -> None:
    """Every clone pays for a large file for ever, also when it is deleted again."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("no checkout of git")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    large = {str(path): path.stat().st_size for path in files if path.is_file()}
    large.pop(str(ROOT / LISTS_EVERY_FILE), None)
    assert not {path: size for path, size in large.items() if size > LARGEST}


def test_what_is_published_is_small() -> None:
    assert sum(path.stat().st_size for path in RESULTS.rglob("*") if path.is_file()) < PUBLISHED


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_published_page_is_short_and_has_its_figures(page: Path) -> None:
    text = page.read_text()
    figures = re.findall(r"\]\(([^)]*\.png)\)", text)
    assert text.count("\n") <= 170, "tables of a dozen points, and little else"
    assert 0 < len(figures) <= 4
    assert {RESULTS / name for name in figures} == set(page.with_suffix("").iterdir())
