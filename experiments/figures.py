"""A study's figures: privacy-utility curves and contact sheets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.axes import Axes
from torchvision.utils import make_grid, save_image

from experiments.classes import import_class
from experiments.plan import make_data
from experiments.tables import Results
from facecrafter.store import TensorStore

# Okabe and Ito's colours, told apart by colour-blind readers; markers repeat what the colours say.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKERS = "osD^vP*"
SHOWN = 6  # people on a contact sheet


def curve(rows: pd.DataFrame, attack: str, oracle: str, path: Path) -> str:
    """Draw Eval Acc against AUC for one attack and oracle; returns what the figure shows, in words."""
    figure, axes = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    for number, (defence, group) in enumerate(rows.groupby("defence", sort=False)):
        style = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
        _points(axes, group.sort_values("auc"), "undefended" if defence == "none" else defence, style)
    chance = 1 / rows["n_identities"].iloc[0]
    axes.axhline(chance, color="grey", linestyle=":", label=f"chance ({chance:.1%})")
    axes.axhline(rows["clean_acc"].iloc[0], color="grey", linestyle="--", label="clean images")
    axes.annotate(
        "ideal",
        (1, 0),
        xytext=(-34, 14),
        xycoords="axes fraction",
        textcoords="offset points",
        arrowprops={"arrowstyle": "->"},
    )
    axes.set(
        xlabel="mean AUC of the attributes (utility)",
        ylabel="Eval Acc of the attacker (leak)",
        ylim=(0, None),
    )
    axes.set_title(f"{attack}, judged by {oracle}")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=130)
    figure.savefig(path.with_suffix(".svg"))
    plt.close(figure)
    points = "; ".join(
        f"{row['defence']} {row['strength']} has AUC {row['auc']:.3f}, Eval Acc {row['eval_acc']:.3f}"
        for _, row in rows.iterrows()
    )
    return f"Privacy-utility curve, {attack} judged by {oracle}. {points}. Chance {chance:.4f}."


def _points(axes: Axes, group: pd.DataFrame, label: str, style: dict[str, Any]) -> None:
    def reach(name: str) -> list[Any]:
        return [
            (group[name] - group[f"{name}_lo"]).clip(lower=0),
            (group[f"{name}_hi"] - group[name]).clip(lower=0),
        ]

    axes.errorbar(
        group["auc"],
        group["eval_acc"],
        xerr=reach("auc"),
        yerr=reach("eval_acc"),
        label=label,
        capsize=2,
        **style,
    )
    for _, row in group.iterrows():
        if row["strength"]:
            axes.annotate(
                row["strength"],
                (row["auc"], row["eval_acc"]),
                xytext=(5, 5),
                textcoords="offset points",
                fontsize="x-small",
            )


def curves(results: Results, folder: Path) -> dict[Path, str]:
    """All curves, with their text alternatives."""
    drawn = {}
    for (attack, oracle), rows in results.best().groupby(["attack", "oracle"], sort=False):
        path = folder / f"{attack}-{oracle}.png"
        drawn[path] = curve(rows, attack, oracle, path)
    return drawn


def contact_sheets(results: Results, folder: Path) -> dict[Path, str]:
    """For each attack a sheet: the private faces, then what the attacker sees under each protection."""
    data_config = results.config["data"]
    found = import_class(data_config["class_path"], "data")
    data = make_data(found, data_config.get("init_args", {}), "data")
    data.prepare_data()
    data.setup("test")
    faces = data.faces("private_test")
    positions = _different_people(faces.identities)
    originals, rows = faces.images(positions), torch.as_tensor(faces.rows)[positions]
    return {
        path: text
        for attack in results.config["attacks"]
        for path, text in [_sheet(results, attack, originals, rows, folder / f"faces-{attack}.png")]
    }


def _different_people(identities: torch.Tensor) -> torch.Tensor:
    """Position of the first image of the first few people."""
    people = torch.as_tensor(identities).tolist()
    return torch.tensor([people.index(person) for person in sorted(set(people))[:SHOWN]])


def _sheet(
    results: Results, attack: str, originals: torch.Tensor, rows: torch.Tensor, path: Path
) -> tuple[Path, str]:
    lines, names = [originals], ["the private faces"]
    for stage in results.stages:
        if stage["command"] == "measure" and stage["labels"]["attack"] == attack:
            lines.append(_reconstructions(results, stage["name"].removesuffix(".measure"), rows))
            names.append(" ".join(filter(None, (stage["labels"]["defence"], stage["labels"]["strength"]))))
    save_image(make_grid(torch.cat(lines), nrow=len(rows)), path)
    return path, f"Contact sheet of {attack}. Rows from the top: {', '.join(names)}."


def _reconstructions(results: Results, stage: str, rows: torch.Tensor) -> torch.Tensor:
    """(n, 3, H, W): for each row the restart that the attack itself would choose."""
    stored = TensorStore.open(results.folder(stage) / "reconstructions").load("row", "images", "losses")
    positions = torch.searchsorted(stored["row"], rows)
    return stored["images"][positions, stored["losses"][positions].argmin(dim=1)]
