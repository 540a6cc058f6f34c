"""Send what a finished study found to Weights & Biases.

    python -m experiments.wandb_summary --study DIR [--project facecrafter] [--online]

There is one run for each defence and strength, with its figures as summary, so that the table of runs can be
sorted by them, and a run `summary` with the privacy-utility curves as charts and the tables. All are in the
group of the study's stages. Figures and the names of methods go out: no image, nothing about a single picture
or person, no folder, nothing about the machine. Without --online the runs stay in DIR/wandb.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import wandb

from experiments.classes import without_private
from experiments.errors import ends_in_sentences
from experiments.report.reading import study_config
from experiments.report.results import POINT, stage_of
from experiments.report.statistics.worst_case import attacks
from experiments.study.runner import wandb_group
from facecrafter.files import for_owner_alone

TABLES = {"results": True, "summary": True, "comparison": True, "ranking": False}
"""The files to send, and whether every study has them."""
SETTING = ["dataset", "scenario", "network", "seed", *POINT]
METHOD = ["attack", "access", "adaptive", "countermeasure", "oracle", "restart"]
FINDING = ["worst_attack", "worst_oracle", "false_security", "verdict", "against_floor"]
FINDING += ["leaked_attack", "leaked_oracle"]
WORDS = {*SETTING, *METHOD, *FINDING}
"""Columns that go out beside those of numbers."""
PRIVATE = {"row", "image", "identity", "sha256", "path"}
"""Columns that never do."""
NUMBERS_ONLY = {"console": "off", "x_disable_machine_info": True, "x_save_requirements": False}
"""W&B's settings; else it also notes the command line, the host, its packages and what was printed."""


def read(study: Path) -> dict[str, pd.DataFrame]:
    """The study's tables by name, with the columns that may go out.

    Raises:
        FileNotFoundError: there is no study, or none that has ended.
    """
    found = {name: study / f"{name}.csv" for name in TABLES}
    for name, path in found.items():
        if TABLES[name] and not path.is_file():
            raise FileNotFoundError(f"{path} is missing; run experiments.study to its end first")
    return {name: _shareable(_read(path)) for name, path in found.items() if path.is_file()}


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype={"strength": str, "restart": str})
    except pd.errors.EmptyDataError:  # nothing was compared
        return pd.DataFrame(columns=POINT)
    return table.fillna({"strength": ""})


def _shareable(table: pd.DataFrame) -> pd.DataFrame:
    numbers = set(table.select_dtypes(["number", "bool"]).columns)
    return table[[name for name in table if name in (numbers | WORDS) - PRIVATE]]


def judged(results: pd.DataFrame) -> pd.DataFrame:
    """The rows in which an attack chose among its restarts by its own loss, without a countermeasure and from
    all answers."""
    few = results.get("curve_only", pd.Series(False, results.index))
    return attacks(results[(results["restart"] == "best") & ~few])


def curves(results: pd.DataFrame, summary: pd.DataFrame) -> dict[str, Any]:
    """Charts of the leak against the utility: of the worst case, and for each attack and oracle."""
    charts = {"curve/worst_case": _curve(summary, "worst_eval_acc", "worst case of the threat model")}
    for (attack, oracle), rows in judged(results).groupby(["attack", "oracle"], sort=False):
        # Of an attacker who trains on protected features, the epoch that serves him best.
        strongest = rows.loc[rows.groupby(POINT, sort=False)["eval_acc"].idxmax()]
        charts[f"curve/{attack}-{oracle}"] = _curve(strongest, "eval_acc", f"{attack}, judged by {oracle}")
    return charts


def _curve(points: pd.DataFrame, leak: str, title: str) -> Any:
    """A line per defence. It ends at the undefended point: W&B draws no line of a single one."""
    points = points.dropna(subset=["auc", leak])
    undefended = points[points["defence"] == "none"]
    lines = {"undefended": undefended}
    for defence, group in points.drop(undefended.index).groupby("defence", sort=False):
        lines[str(defence)] = pd.concat([group, undefended]).sort_values("auc")
    return wandb.plot.line_series(
        xs=[line["auc"].tolist() for line in lines.values()],
        ys=[line[leak].tolist() for line in lines.values()],
        keys=list(lines),
        title=f"Share of images identified, {title}",
        xname="mean AUC (utility)",
    )


def points(results: pd.DataFrame, summary: pd.DataFrame) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The setting and the figures of every defence and strength.

    An attack counts with the oracle and the epoch at which it identifies most.
    """
    leaks = {
        point: group.groupby("attack", sort=False)["eval_acc"].max()
        for point, group in judged(results).groupby(POINT)
    }
    settings = results[SETTING].drop_duplicates(POINT).set_index(POINT, drop=False).to_dict("index")
    for line in summary.to_dict("records"):
        point = tuple(line.pop(name) for name in POINT)
        figures = {name: value for name, value in line.items() if pd.notna(value)}
        figures |= {f"eval_acc/{attack}": leak for attack, leak in leaks.get(point, {}).items()}
        yield settings[point], figures


def table(frame: pd.DataFrame) -> wandb.Table:
    """A table of W&B, empty where a column does not apply."""
    cells = frame.astype(object).where(frame.notna(), None)
    return wandb.Table(columns=list(frame.columns), data=cells.to_numpy().tolist())


def send(study: Path, project: str, online: bool) -> None:
    """Upload the runs, or write them into the study's folder.

    Raises:
        FileNotFoundError: see `read`.
        wandb.Error: nobody is logged in, or W&B cannot be reached.
    """
    tables = read(study)
    config = without_private(study_config(study))
    start = partial(
        wandb.init,
        project=project,
        group=wandb_group(study),
        dir=str(study),
        mode="online" if online else "offline",
        settings=wandb.Settings(**NUMBERS_ONLY),
    )
    for setting, figures in points(tables["results"], tables["summary"]):
        name = stage_of(setting)
        with start(name=name, job_type="result", config=setting) as run:
            run.summary.update(figures)
    with start(name="summary", job_type="summary", config=config) as run:
        run.log(curves(tables["results"], tables["summary"]))
        run.log({f"table/{name}": table(frame) for name, frame in tables.items()})


@for_owner_alone()
@ends_in_sentences
def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--study", type=Path, required=True, help="the study's folder")
    parser.add_argument("--project", default="facecrafter", help="of W&B (default: facecrafter)")
    parser.add_argument(
        "--online", action="store_true", help="upload, instead of writing to the study's folder"
    )
    options = parser.parse_args(args)
    try:
        send(options.study, options.project, options.online)
    except wandb.Error as error:
        sys.exit(f"error: {error} (without --online the runs stay here)")
    if not options.online:
        print(f"to upload them: wandb sync {options.study}/wandb/offline-run-*")


if __name__ == "__main__":
    main()
