"""Whether Crafter's implicit gradient could be believed while it protected, from the logs it left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from experiments.report.analysis import Analysis
from experiments.report.document import Block, Figures, Folded, Items, Table, Text
from experiments.report.formats import decimal, filled, name_of, named, percentage
from experiments.report.plotting import Figure, drawing, file_name, legend, styles
from experiments.report.reading import read_table
from experiments.report.results import POINT, Results, stage_of
from facecrafter.crafter.health import LARGEST_ERROR, LARGEST_GAP

TITLE = "Could the defence's own computation be trusted?"
HEALTH = (
    "Crafter differentiates through the simulated attacker's best response. This is right only if the "
    "response is a best one, and if a linear system is solved well enough. Both were measured while it ran. "
    "Slope at z*: 0 would be a best response. Residual: what the solver left over. The gradient, and the "
    "share of the inversion loss that could still go, are compared with near-exact ones on a few images, "
    "from time to time."
)
HEALTHY = "Every check passed: the gradient was within 5% of a near-exact one, and the response was settled."
MEANS = ["stationarity", "solver_residual", "implicit_cosine", "implicit_error", "inner_gap"]


def blocks(analysis: Analysis) -> Iterator[Block]:
    logs = _iteration_logs(analysis.results)
    table = _health(logs)
    if len(table):
        found = list(_warnings(table))
        yield Text(HEALTH)
        yield Items(found, warning=True) if found else Text(HEALTHY)
        yield Table(_readable(table), "health", table)
        yield Folded("Over the iterations", [Figures(_figures(logs, analysis.figures))])


def doubts(analysis: Analysis) -> Iterator[str]:
    table = _health(_iteration_logs(analysis.results))
    if len(table):
        yield from _warnings(table)


def _iteration_logs(results: Results) -> pd.DataFrame:
    """What every defence logged of every iteration; defences that do not iterate have no lines."""
    tables = []
    for point in results.rows[POINT].drop_duplicates().to_dict("records"):
        stage = stage_of(point)
        if stage not in {done["name"] for done in results.stages}:
            continue
        files = sorted(results.folder(stage).glob("logs/iterations-rank*.csv"))
        tables += [read_table(file).assign(**point) for file in files]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _health(logs: pd.DataFrame) -> pd.DataFrame:
    """A line for each run that logged the health of its solver: means over iterations, and over the checks.

    `off` and `unsettled` count the checks at which the implicit gradient was too far from a near-exact one,
    and z* too far from a best response.
    """
    if "stationarity" not in logs:
        return pd.DataFrame()
    groups = logs[logs["stationarity"].notna()].groupby(POINT, sort=False)
    return pd.DataFrame([dict(zip(POINT, point, strict=True)) | _line(lines) for point, lines in groups])


def _line(lines: pd.DataFrame) -> dict[str, float]:
    lines = lines.reindex(columns=lines.columns.union([*MEANS, "largest_eigenvalue"]))
    last = lines[lines["iteration"] == lines["iteration"].max()]
    return {
        "iterations": int(lines["iteration"].max()),
        "utility_loss": last["utility_loss"].mean(),
        "privacy_loss": last["privacy_loss"].mean(),
        **{name: lines[name].mean() for name in MEANS},
        "largest_eigenvalue": lines["largest_eigenvalue"].max(),
        "checks": int(lines["implicit_error"].notna().sum()),
        "off": int((lines["implicit_error"] > LARGEST_ERROR).sum()),
        "unsettled": int((lines["inner_gap"] > LARGEST_GAP).sum()),
    }


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    numbers = {
        "iterations": "iterations",
        "L_u at the end": "utility_loss",
        "slope at z*": "stationarity",
        "largest eigenvalue": "largest_eigenvalue",
    }
    shares = {
        "solver's residual": "solver_residual",
        "gradient off a near-exact one": "implicit_error",
        "inversion loss that could still go": "inner_gap",
    }
    shown = named(table).assign(
        **{name: table[column].map("{:.4g}".format) for name, column in numbers.items()},
        **{name: table[column].map(percentage) for name, column in shares.items()},
        **{"cosine to a near-exact one": table["implicit_cosine"].map(decimal), "checks": table["checks"]},
    )
    return filled(shown)


def _warnings(table: pd.DataFrame) -> Iterator[str]:
    """What to think of the runs, and what to change, where checks found something wrong."""
    if runs := _named(table, "off"):
        yield (
            f"The gradient that protects was more than {LARGEST_ERROR:.0%} off a near-exact one in {runs}. "
            "The protection may be weaker than the method's: raise the solver's steps, or its damping."
        )
    if runs := _named(table, "unsettled"):
        yield (
            f"The simulated attacker could still have improved its reconstruction by more than "
            f"{LARGEST_GAP:.0%} in {runs}. The theorem behind the gradient does not quite apply there: raise "
            "inner.steps, or lower learning_rate."
        )
    if runs := ", ".join(name_of(line) for line in table[table["checks"] == 0].to_dict("records")):
        yield f"The gradient of {runs} was never compared with a near-exact one: set health.every above 0."


def _named(table: pd.DataFrame, count: str) -> str:
    """The runs in which a check failed, and how often."""
    failed = table[table[count] > 0].to_dict("records")
    return ", ".join(f"{name_of(line)} (at {line[count]} of {line['checks']} checks)" for line in failed)


def _figures(logs: pd.DataFrame, folder: Path) -> list[Figure]:
    """‖∂L_inv/∂z‖ at the point of differentiation over iterations, a figure for every defence."""
    found = logs[logs["stationarity"].notna()] if "stationarity" in logs else logs
    return [
        _stationarity(str(defence), lines, folder) for defence, lines in found.groupby("defence", sort=False)
    ] if len(found) else []  # fmt: skip


def _stationarity(defence: str, lines: pd.DataFrame, folder: Path) -> Figure:
    path, style = folder / f"{file_name('stationarity', defence)}.svg", styles(lines["strength"])
    parts = []
    with drawing(path, (4.8, 3.4)) as axes:
        for strength, group in lines.groupby("strength", sort=False):
            slopes = group.groupby("iteration")["stationarity"].mean()
            shown = style[str(strength)] | {"marker": None}
            axes.plot(slopes.index, slopes, label=str(strength) or defence, linewidth=1.2, **shown)
            parts.append(f"{strength or defence} from {slopes.iloc[0]:.3g} to {slopes.iloc[-1]:.3g}")
        axes.set(xlabel="iteration", ylabel="slope of the inversion loss at z*", yscale="log", title=defence)
        legend(axes)
    caption = (
        f"{defence}: slope of the simulated attacker's loss at its response; 0 would be a best response."
    )
    return Figure(path, caption, f"{caption} {'; '.join(parts)}.")
