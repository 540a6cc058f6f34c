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
from experiments.study.config import load

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


def test_the_model_card_is_that_of_the_demo() -> None:
    """A card that says other sizes or epochs than were trained is worse than none."""
    card, config = (ROOT / "docs" / "model-card.md").read_text(), load(ROOT / "experiments/configs/demo.yaml")
    data = config.data["init_args"]
    people, each, private = data["n_identities"], data["images_per_identity"], data["private_identities"]
    said = (
        f"{people * each:,} painted pictures of {data['image_size']}×{data['image_size']} pixels of {people}"
    )
    assert f"{said} people who do not exist, {each} of each" in card
    assert re.search(rf"{people - private} people are\s+public, {private} private;", card)
    epochs = [
        config.fits[name].trainer["max_epochs"] for name in ("target", "prior", "decoder", "classifier")
    ]
    assert f"| epochs | {' | '.join(map(str, epochs))} |" in card
    prior = config.fits["prior"].model["init_args"]
    assert f"of width {prior['width']}, {prior['latent_dim']} latents" in card
