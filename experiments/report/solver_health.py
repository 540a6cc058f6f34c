"""Whether Crafter's implicit gradient could be believed while it protected, from the logs it left."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from experiments.report.results import POINT, Results, name_of, stage_of
from facecrafter.crafter.health import LARGEST_ERROR, LARGEST_GAP

MEANS = ["stationarity", "solver_residual", "implicit_cosine", "implicit_error", "inner_gap"]


def iteration_logs(results: Results) -> pd.DataFrame:
    """What every defence logged of every iteration; defences that do not iterate have no lines."""
    tables = []
    for point in results.rows[POINT].drop_duplicates().to_dict("records"):
        stage = stage_of(point)
        if stage not in {done["name"] for done in results.stages}:
            continue
        files = sorted(results.folder(stage).glob("logs/iterations-rank*.csv"))
        tables += [pd.read_csv(file).assign(**point) for file in files]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def health(logs: pd.DataFrame) -> pd.DataFrame:
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


def warnings(table: pd.DataFrame) -> Iterator[str]:
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
