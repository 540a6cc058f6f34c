"""The README and the pages of docs/: their links lead somewhere, and what they show runs."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

import lightning_modules

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def blocks(page: Path) -> list[str]:
    """The page's Python."""
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_what_a_page_imports_is_there(page: Path) -> None:
    """Whoever copies an example meets no ImportError on its first line."""
    for block in blocks(page):
        for statement in ast.walk(ast.parse(block)):
            if isinstance(statement, ast.ImportFrom):
                module = import_module(str(statement.module))
                assert not [name.name for name in statement.names if not hasattr(module, name.name)]


def test_the_defence_of_the_readme_protects(monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = blocks(ROOT / "README.md")
    names: dict[str, Any] = {}
    exec(block, names)
    monkeypatch.setattr(
        "lightning_modules.defences.base.load_artifact",
        lambda *_: lightning_modules.TargetNetwork(n_outputs=3),
    )
    defence = names["GaussianNoise"]("target", sigma=0.5)
    images = torch.rand(2, 3, 32, 32)
    moved = defence.protect(images, torch.Generator().manual_seed(0)) - defence.encoder(images)
    assert 0.4 < moved.std() < 0.6, "noise of the strength that was asked for"
