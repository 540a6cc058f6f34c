"""Contact sheets, never published: the private faces, and what an attacker makes of their features."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from torchvision.utils import make_grid

from experiments.report import names
from experiments.report.analysis import Analysis
from experiments.report.document import Block, Figures
from experiments.report.formats import name_of
from experiments.report.plotting import RC, Figure, file_name, save
from experiments.report.results import Results, chosen_images, trial
from experiments.study.data import prepare
from facecrafter.store import TensorStore

TITLE = "What the attacker sees"
PRIVATE = True
SHOWN = 6  # people on a sheet


def blocks(analysis: Analysis) -> Iterator[Block]:
    if analysis.faces and (sheets := contact_sheets(analysis.results, analysis.figures)):
        yield Figures(sheets)


def contact_sheets(results: Results, folder: Path) -> list[Figure]:
    """For each attack a sheet: the private faces, then what the attacker sees under each protection."""
    faces = prepare(results.config["data"]).protected_faces()
    positions = _different_people(faces.identities)
    originals, rows = faces.images(positions), torch.as_tensor(faces.rows)[positions]
    sheets: dict[str, dict[str, TensorStore]] = {}
    for stage in results.measured():
        if store := _reconstructions(results, stage):
            labels = stage["labels"]
            countermeasure = trial(labels | {"epoch": None}).split(", ")[1:]
            name = ", ".join([name_of(labels), *countermeasure])
            sheets.setdefault(labels["attack"], {})[name] = store  # of several epochs, the last
    return [
        _sheet(
            attack,
            {"private faces": originals}
            | {name: chosen_images(store, rows) for name, store in lines.items()},
            folder / f"{file_name('faces', attack)}.png",
        )
        for attack, lines in sheets.items()
    ]


def _different_people(identities: torch.Tensor) -> torch.Tensor:
    """Position of the first image of the first few people."""
    people = torch.as_tensor(identities).tolist()
    return torch.tensor([people.index(person) for person in sorted(set(people))[:SHOWN]])


def _reconstructions(results: Results, stage: dict[str, Any]) -> TensorStore | None:
    """The store that a stage measured; None if it measured no images, or if they were deleted since."""
    if stage["command"] != "measure":
        return None
    attacks = {other["name"] for other in results.stages if other["command"] == "attack"}
    names = [name for name in stage["inputs"] if name in attacks]
    folder = results.folder(names[0]) / "reconstructions" if names else None
    return TensorStore.open(folder) if folder and folder.is_dir() else None


def _sheet(attack: str, lines: dict[str, torch.Tensor], path: Path) -> Figure:
    with plt.rc_context({"text.parse_math": RC["text.parse_math"]}):
        figure, axes = plt.subplots(len(lines), 1, figsize=(5, 0.7 * len(lines)), layout="constrained")
        for axis, (name, images) in zip(axes.flat, lines.items(), strict=True):
            grid = make_grid(images, nrow=len(images), pad_value=1)
            axis.imshow(grid.permute(1, 2, 0).clamp(0, 1).numpy())
            axis.set_ylabel(name, rotation=0, ha="right", va="center")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        save(figure, path, dpi=150, bbox_inches="tight")
        plt.close(figure)
    shown = "the private faces, and below them what the attacker reconstructs from their features"
    text = f"{names.attack(attack)}: {shown}"
    return Figure(path, f"{text}.", f"{text}. Rows from the top: {', '.join(lines)}.")
