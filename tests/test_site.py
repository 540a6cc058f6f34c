"""The documentation site is built as `make docs` builds it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT


def test_every_page_is_in_the_contents() -> None:
    """A page that is in none cannot be reached on the site, and its build fails."""
    docs = ROOT / "docs"
    listed = {docs / "index"}
    for page in docs.rglob("*.md"):
        for entries in re.findall(
            r"^```{toctree}\n(?::[^\n]*\n)*\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE
        ):
            listed |= {page.parent / entry.rpartition("<")[2].rstrip(">") for entry in entries.splitlines()}
    assert {page.with_suffix("") for page in docs.rglob("*.md")} == listed


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_asks_nobody(tmp_path: Path) -> None:
    """It takes 20 s, so Sphinx is no part of the development installation; CI installs it."""
    pytest.importorskip("myst_parser", reason="pip install -e '.[docs]'")
    line = ["--quiet", "--fail-on-warning", "--keep-going", "--doctree-dir", str(tmp_path / "trees")]
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", *line, str(ROOT / "docs"), str(tmp_path / "site")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    pages = {
        page.relative_to(tmp_path / "site"): page.read_text() for page in tmp_path.glob("site/**/*.html")
    }
    assert "implicit gradient" in pages[Path("method.html")]
    assert "facecrafter.attacks.WhiteBox" in pages[Path("api/attacks.html")]
    fetched = {
        link
        for text in pages.values()
        for link in re.findall(r'<(?:script|link|img)[^>]*"(https?:[^"]*)"', text)
    }
    assert not fetched, "a page that is read offline fetches nothing"
