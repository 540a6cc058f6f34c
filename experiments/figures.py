"""A study's figures: privacy-utility curves and contact sheets."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.ticker import PercentFormatter
from matplotlib.transforms import Bbox
from torchvision.utils import make_grid

from experiments.classes import import_class
from experiments.study_data import make_data
from experiments.tables import Results
from facecrafter.store import TensorStore

# Okabe and Ito's colours, told apart by colour-blind readers; markers repeat what the colours say.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKERS = "osD^vP*"
OUTLINE = [withStroke(linewidth=2.5, foreground="white")]  # keeps text readable on top of lines
SHOWN = 8  # people on a contact sheet


class Words(NamedTuple):
    """What stands below a figure, and what stands for it where it cannot be seen."""

    caption: str
    alt: str


def curve(rows: pd.DataFrame, attack: str, oracle: str, path: Path) -> Words:
    """Draw Eval Acc against AUC for one attack and oracle."""
    figure, axes = plt.subplots(figsize=(6.4, 4.8), layout="constrained")
    labels: list[tuple[float, float, str, str]] = []
    for number, (defence, group) in enumerate(rows.groupby("defence", sort=False)):
        style = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
        group = group.sort_values("auc")
        name, strengths = _split_labels(str(defence), list(group["strength"]))
        _points(axes, group, name, style)
        labels += [
            (row.auc, row.eval_acc, strength, style["color"])
            for row, strength in zip(group.itertuples(), strengths, strict=True)
            if strength
        ]
    chance, clean = 1 / rows["n_identities"].iloc[0], rows["clean_acc"].iloc[0]
    axes.axhline(chance, color="grey", linestyle=":", label=f"chance ({chance:.1%})")
    axes.axhline(clean, color="grey", linestyle="--", label=f"clean images ({clean:.1%})")
    axes.set(
        xlabel="mean AUC of the attributes (utility)",
        ylabel="images identified (leak)",
        ylim=(0, 1.06 * max(clean, rows["eval_acc_hi"].max())),
        title=f"{attack}, judged by {oracle}",
    )
    axes.margins(x=0.08)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.legend(loc="outside lower center", ncols=4, fontsize="small", frameon=False)
    _label(axes, labels)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    points = "; ".join(
        f"{row['defence']} {row['strength']} has AUC {row['auc']:.3f}, Eval Acc {row['eval_acc']:.3f}"
        for _, row in rows.iterrows()
    )
    title = f"{attack} judged by {oracle}"
    alt = f"Privacy-utility curve, {title}. {points}. Chance {chance:.4f}, clean images {clean:.3f}."
    return Words(f"{title}, {int(rows['n_images'].iloc[0])} images, 95% intervals.", alt)


def _split_labels(defence: str, strengths: list[str]) -> tuple[str, list[str]]:
    """A defence's name in the legend, and what its points say: ('crafter, beta', ['0.5', '1'])."""
    if defence == "none":
        return "undefended", strengths
    names = {strength.partition("=")[0] for strength in strengths}
    if len(names) == 1 and all(strength.count("=") == 1 for strength in strengths):
        return f"{defence}, {names.pop()}", [strength.partition("=")[2] for strength in strengths]
    return defence, strengths


def _points(axes: Axes, group: pd.DataFrame, label: str, style: dict[str, Any]) -> None:
    def reach(name: str) -> list[Any]:
        return [
            (group[name] - group[f"{name}_lo"]).clip(lower=0),
            (group[f"{name}_hi"] - group[name]).clip(lower=0),
        ]

    # Intervals in a lighter colour of their own, so that points that overlap can be told apart.
    _, _, bars = axes.errorbar(
        group["auc"],
        group["eval_acc"],
        xerr=reach("auc"),
        yerr=reach("eval_acc"),
        label=label,
        linewidth=1,
        elinewidth=1,
        markersize=5,
        **style,
    )
    for bar in bars:
        bar.set_alpha(0.4)


def _label(axes: Axes, labels: list[tuple[float, float, str, str]]) -> None:
    """Write each (x, y, text, colour) beside its point, if possible where no other text or point is."""
    axes.figure.canvas.draw()  # from now on it is known where on the page a point is
    pixel = axes.figure.dpi / 72
    points = [axes.transData.transform((x, y)) for x, y, _, _ in labels]
    taken = [Bbox.from_bounds(x - 4 * pixel, y - 4 * pixel, 8 * pixel, 8 * pixel) for x, y in points]
    for x, y, text, colour in labels:
        for place in PLACES:
            note = axes.annotate(
                text,
                (x, y),
                **place,
                textcoords="offset points",
                fontsize="small",
                color=colour,
                path_effects=OUTLINE,
            )
            box = note.get_window_extent()
            if not any(box.overlaps(other) for other in taken) or place is PLACES[-1]:
                taken.append(box)
                break
            note.remove()


PLACES: list[dict[str, Any]] = [
    {"xytext": (5, 5), "ha": "left", "va": "bottom"},
    {"xytext": (-5, -5), "ha": "right", "va": "top"},
    {"xytext": (5, -5), "ha": "left", "va": "top"},
    {"xytext": (-5, 5), "ha": "right", "va": "bottom"},
    {"xytext": (0, 16), "ha": "center", "va": "bottom"},
]


def curves(results: Results, folder: Path) -> dict[Path, Words]:
    """All curves."""
    drawn = {}
    for (attack, oracle), rows in results.best().groupby(["attack", "oracle"], sort=False):
        path = folder / f"{attack}-{oracle}.png"
        drawn[path] = curve(rows, attack, oracle, path)
    return drawn


def contact_sheets(results: Results, folder: Path) -> dict[Path, Words]:
    """For each attack a sheet: the private faces, then what the attacker sees under each protection."""
    data_config = results.config["data"]
    found = import_class(data_config["class_path"], "data")
    data = make_data(found, data_config.get("init_args", {}), "data")
    data.prepare_data()
    data.setup("test")
    faces = data.faces("private_test")
    positions = _different_people(faces.identities)
    originals, rows = faces.images(positions), torch.as_tensor(faces.rows)[positions]
    drawn = {}
    for attack in results.config["attacks"]:
        path = folder / f"faces-{attack}.png"
        drawn[path] = _sheet(results, attack, originals, rows, path)
    return drawn


def _different_people(identities: torch.Tensor) -> torch.Tensor:
    """Position of the first image of the first few people."""
    people = torch.as_tensor(identities).tolist()
    return torch.tensor([people.index(person) for person in sorted(set(people))[:SHOWN]])


def _sheet(results: Results, attack: str, originals: torch.Tensor, rows: torch.Tensor, path: Path) -> Words:
    lines = {"private faces": originals}
    for stage in results.stages:
        if stage["command"] == "measure" and stage["labels"]["attack"] == attack:
            name = " ".join(filter(None, (stage["labels"]["defence"], stage["labels"]["strength"])))
            name = "undefended" if name == "none" else name
            lines[name] = _reconstructions(results, stage["name"].removesuffix(".measure"), rows)
    figure, axes = plt.subplots(len(lines), 1, figsize=(8, 0.85 * len(lines)), layout="constrained")
    for axis, (name, images) in zip(axes.flat, lines.items(), strict=True):
        axis.imshow(make_grid(images, nrow=len(rows), pad_value=1).permute(1, 2, 0).clamp(0, 1).numpy())
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    figure.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(figure)
    text = f"{attack}: the private faces, and below them what the attacker reconstructs from their features"
    return Words(f"{text}.", f"{text}. Rows from the top: {', '.join(lines)}.")


def _reconstructions(results: Results, stage: str, rows: torch.Tensor) -> torch.Tensor:
    """(n, 3, H, W): for each row the restart that the attack itself would choose."""
    stored = TensorStore.open(results.folder(stage) / "reconstructions").load("row", "images", "losses")
    positions = torch.searchsorted(stored["row"], rows)
    return stored["images"][positions, stored["losses"][positions].argmin(dim=1)]
