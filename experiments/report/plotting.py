"""What all figures share: sizes, colours, legends, labels, and how they are saved."""

from __future__ import annotations

import hashlib
import re
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import PercentFormatter
from matplotlib.transforms import Bbox

from facecrafter.files import written_whole

# After Okabe and Ito, told apart by colour-blind readers; the pale ones are darkened, to show on white as on
# black. Markers and dashes repeat what the colours say.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#C98500", "#3A9BD0", "#8C6D31", "#7A5FD0"]
MARKERS = "osD^vPXp"
DASHES = ["-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1))]
INK, PAPER = "#010101", "#fefefe"
"""Black and white, but for a page, which puts the reader's own colours in their place."""
GREY = "#808080"
RC: dict[str, Any] = {
    "text.parse_math": False,  # a name with two dollars is a name, not a formula
    "svg.fonttype": "none",  # text stays text: it can be searched, and takes the page's colour
    "pdf.fonttype": 42,  # letters as letters: journals refuse drawn ones
    "font.size": 9,
    "legend.fontsize": 8,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    **dict.fromkeys(["text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"], INK),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
}
TITLE = 60  # letters of a title in a line of SIZE
SIZE = (4.8, 4.0)  # inches: as wide as a column of the page, so that its letters keep their size
Style = dict[str, Any]


class Figure(NamedTuple):
    """A drawing on disk, what stands below it, and what stands for it where it cannot be seen."""

    path: Path
    caption: str
    alt: str

    @property
    def png(self) -> Path:
        return self.path.with_suffix(".png")


def file_name(*parts: str) -> str:
    """A file's name for names of attacks and defences; odd ones differ by a hash of what they were."""
    name = "-".join(parts)
    plain = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII)
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


_AS_PDF_TOO: ContextVar[bool] = ContextVar("as PDF, too", default=False)


@contextmanager
def drawn_as_pdf_too(asked: bool) -> Iterator[None]:
    """Within it, every drawing is saved as a PDF beside its SVG, if that is asked for."""
    before = _AS_PDF_TOO.set(asked)
    try:
        yield
    finally:
        _AS_PDF_TOO.reset(before)


@contextmanager
def drawing(path: Path, size: tuple[float, float] = SIZE) -> Iterator[Axes]:
    """Axes to draw on; when done, they are saved as `path`, an SVG, and as a PNG on white beside it."""
    with plt.rc_context({**RC, "svg.hashsalt": path.stem}):
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        try:
            yield axes
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # laid out once for both files
            nothing = dict.fromkeys(["Date", "Creator", "Format", "Type"])  # the same drawing, the same file
            save(figure, path, metadata=nothing)
            save(figure, path.with_suffix(".png"), dpi=150, facecolor="white")
            if _AS_PDF_TOO.get():
                nothing = dict.fromkeys(["CreationDate", "Creator", "Producer"])
                save(figure, path.with_suffix(".pdf"), metadata=nothing)
        finally:
            plt.close(figure)


def save(figure: MatplotlibFigure, path: Path, **options: Any) -> None:
    """Save `figure` in the format that the file's ending names; `options` are those of its `savefig`.

    Raises:
        OSError: naming the file, which matplotlib leaves out where the disk is full.
    """
    with written_whole(path) as file:
        figure.savefig(file, format=path.suffix[1:], **options)


def styles(names: Iterable[str]) -> dict[str, Style]:
    """A colour, a marker and dashes for each name; the undefended point is drawn in ink."""
    found: dict[str, Style] = {"none": {"color": INK, "marker": "*", "linestyle": ":"}}
    for number, name in enumerate(dict.fromkeys(name for name in names if name != "none")):
        found[name] = {
            "color": COLOURS[number % len(COLOURS)],
            # Shifted by one in every round, so that no two of many share both colour and marker.
            "marker": MARKERS[(number + number // len(COLOURS)) % len(MARKERS)],
            "linestyle": DASHES[number % len(DASHES)],
        }
    return found


def reach(table: pd.DataFrame, name: str) -> list[pd.Series]:
    """How far the interval of a column reaches below and above its values."""
    value = table[name].astype(float)
    bounds = [value - table[f"{name}_lo"].astype(float), table[f"{name}_hi"].astype(float) - value]
    return [bound.clip(lower=0) for bound in bounds]


def with_bars(axes: Axes, *columns: Any, label: str, style: Style, **errors: Any) -> None:
    """A line through points, with intervals in a lighter colour, so that points that overlap can be told."""
    _, _, bars = axes.errorbar(
        *columns, label=label, linewidth=1.2, elinewidth=1, markersize=5.5, **style, **errors
    )
    for bar in bars:
        bar.set_alpha(0.5)


def chance_line(axes: Axes, chance: float) -> None:
    """Where guessing lies."""
    axes.axhline(chance, color=GREY, linestyle=":", linewidth=1, label=f"chance ({chance:.1%})")


def floor_line(axes: Axes, floor: float) -> None:
    """What f's answers give away; nothing where that was not measured."""
    if not pd.isna(floor):
        axes.axhline(floor, color=GREY, linestyle="-.", linewidth=1, label=f"f's answers ({floor:.1%})")


def in_percent(axes: Axes) -> None:
    """The y axis in percent, from 0."""
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def wrapped(title: str) -> str:
    """A title in lines that an axis has room for."""
    return textwrap.fill(title, TITLE)


def legend(axes: Axes, columns: int = 3) -> None:
    """Below the axes, where it covers nothing."""
    axes.figure.legend(loc="outside lower center", ncols=columns, frameon=False)


def label_points(axes: Axes, labels: list[tuple[float, float, str, str]]) -> None:
    """Write each (x, y, text, colour) beside its point, if possible where no other text or point is."""
    axes.figure.canvas.draw()  # from now on it is known where on the page a point is
    pixel = axes.figure.dpi / 72
    points = [axes.transData.transform((x, y)) for x, y, _, _ in labels]
    taken = [Bbox.from_bounds(x - 4 * pixel, y - 4 * pixel, 8 * pixel, 8 * pixel) for x, y in points]
    taken += [text.get_window_extent() for text in axes.texts]
    for x, y, text, colour in labels:
        for place in PLACES:
            note = axes.annotate(
                text,
                (x, y),
                **place,
                textcoords="offset points",
                fontsize=8,
                color=colour,
                path_effects=[withStroke(linewidth=2.5, foreground=PAPER)],
            )
            box = note.get_window_extent()
            if not any(box.overlaps(other) for other in taken) or place is PLACES[-1]:
                taken.append(box)
                break
            note.remove()


PLACES: list[dict[str, Any]] = [
    {"xytext": (5, -5), "ha": "left", "va": "top"},  # below a curve that rises
    {"xytext": (-5, 5), "ha": "right", "va": "bottom"},  # and above it
    {"xytext": (5, 5), "ha": "left", "va": "bottom"},
    {"xytext": (-5, -5), "ha": "right", "va": "top"},
    {"xytext": (0, 16), "ha": "center", "va": "bottom"},
]
