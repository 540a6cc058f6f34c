"""The layers of the house: who may import whom."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    "src/facecrafter": {
        "lightning_modules",
        "datamodules",
        "callbacks",
        "experiments",
        "pytorch_lightning",
        "wandb",
    },
    "lightning_modules": {"datamodules", "callbacks", "experiments"},
    "datamodules": {"lightning_modules", "callbacks", "experiments"},
    "callbacks": {"lightning_modules", "datamodules", "experiments"},
}
FILES = [(folder, file) for folder in FORBIDDEN for file in sorted((ROOT / folder).rglob("*.py"))]


def imported(file: Path) -> set[str]:
    """Top-level names of everything a file imports, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize(("folder", "file"), FILES, ids=[str(file.relative_to(ROOT)) for _, file in FILES])
def test_imports_run_one_way(folder: str, file: Path) -> None:
    assert not imported(file) & FORBIDDEN[folder]
