"""What the stages of a study left: its configuration, every row, and what was identified image by image."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from experiments.classes import draws_anew
from experiments.evaluation.columns import Column
from experiments.evaluation.likeness import Likeness
from experiments.evaluation.rows import COUNTS, describe_columns
from experiments.report.reading import REMEDY, columns, listed, plan, read_table, study_config
from experiments.study.marker import read_marker, verified
from facecrafter.attacks.reconstruction import Reconstruction
from facecrafter.documents import read_json
from facecrafter.store import TensorStore

ANSWERS = "answers"
"""The command whose stages say what f's answers give away."""
UNASKED = f"the stage `{ANSWERS}` of each has not run yet, or it failed"
POINT = ["defence", "strength"]
OUTCOME = ["oracle", "restart", "row", "identity", "correct"]
HOW = ("countermeasure", "adaptive")
LICENSED = {"datamodules.SyntheticFaces", "datamodules.synthetic.SyntheticFaces"}
"""Data whose images may be shown to anybody."""


@dataclass(frozen=True)
class Results:
    """What a study has measured so far.

    Attributes:
        output: the study's folder.
        config: its resolved configuration.
        stages: the plan: name, command, folder, inputs, labels of every stage that is done.
        rows: results.csv; `curve_only` says where an attacker had only some of the answers: what they found
            is a point of a curve over the number of queries.
        per_image: one line per image, trial and oracle, with the restart that the attack itself would choose.
        missing: the stages that would measure more, and are not done.
        columns: what the figures of `rows` are, in the order in which people are shown them.
    """

    output: Path
    config: dict[str, Any]
    stages: list[dict[str, Any]]
    rows: pd.DataFrame
    per_image: pd.DataFrame
    missing: list[dict[str, Any]]
    columns: tuple[Column, ...] = ()

    @property
    def painted(self) -> bool:
        """Whether the people of the study do not exist."""
        return self.config["data"]["class_path"] in LICENSED

    @property
    def data_seed(self) -> int | None:
        """The seed by which the study's data draws people, where it has one."""
        seed: int | None = self.config["data"].get("init_args", {}).get("seed")
        return seed

    @property
    def acquainted(self) -> list[str]:
        """Defences whose f learned from the private people on whom its utility is measured."""
        if self.config["scenario"] != "deployment":
            return []
        roles = {name: fit["data"].get("fit_role") for name, fit in self.config["defences"].items()}
        return [name for name, role in roles.items() if role and "private_train" in role]

    @cached_property
    def drawing(self) -> dict[str, bool]:
        """Whether each defence draws anew for every query of a picture, where its class says which; of one
        that does not averaging finds nothing more."""
        models = {name: fit.get("model") for name, fit in self.config["defences"].items()}
        said = {name: _draws(model) for name, model in models.items() if model}
        return {name: draws for name, draws in said.items() if draws is not None}

    @cached_property
    def done(self) -> set[str]:
        """The names of the stages that are done."""
        return {stage["name"] for stage in self.stages}

    def folder(self, name: str) -> Path:
        """A stage's artifact folder.

        Raises:
            KeyError: there is no such stage, or it is not done.
        """
        folders = {stage["name"]: stage["folder"] for stage in self.stages}
        return self.output / folders[name]

    def seconds_an_image(self) -> pd.DataFrame:
        """Of each point whose stage is done, what that took, over the images that it protected."""
        points = self.rows.drop_duplicates(POINT)[[*POINT, "n_images"]].to_dict("records")
        done = [point for point in points if stage_of(point) in self.done]
        took = [read_marker(self.folder(stage_of(point))).get("seconds") for point in done]
        table = pd.DataFrame(done, columns=[*POINT, "n_images"])
        table["seconds"] = pd.Series(took, dtype=float) / table.pop("n_images").astype(float)
        return table

    def chosen(self, name: str) -> dict[str, Any]:
        """What the search `name` left: the setting it chose, what each found, and on how many images."""
        found: dict[str, Any] = read_json(self.folder(name) / "choice.json", REMEDY)
        return found

    def best(self) -> pd.DataFrame:
        """The rows in which each attack chose among its restarts by its own loss, and their `trial`; of an
        attack from several numbers of answers those from all."""
        best = self.rows[(self.rows["restart"].astype(str) == "best") & ~self.rows["curve_only"]]
        names = [trial(row) for row in best.to_dict("records")]
        return best.assign(trial=names)

    def measured(self) -> list[dict[str, Any]]:
        """The stages that attack with all they have, and whose rows are in results.csv."""
        return [stage for stage in self.stages if stage["labels"] and not is_curve_only(stage)]

    def beside(self, name: str) -> pd.DataFrame:
        """The CSVs of this name beside every stage's results, with defence, strength, attack and epoch.

        A countermeasure is no attack's own, so what was measured under one is left out.
        """
        tables = []
        for stage in self.measured():
            labels, path = stage["labels"], self.output / stage["folder"] / name
            if path.is_file() and labels.get("countermeasure", "none") == "none":
                point = {column: labels[column] for column in (*POINT, "attack")}
                names = pd.DataFrame([point | {"epoch": labels.get("epoch")}])
                tables.append(names.merge(read_table(path), how="cross"))
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def gather(output: Path) -> Results:
    """Read everything that the study's plan names and that is done.

    Raises:
        FileNotFoundError: there is no plan, or nothing has been measured yet.
        ValueError: a file is damaged, naming it and the remedy.
    """
    stages, config = plan(output), study_config(output)
    done = [stage for stage in stages if (output / stage["folder"] / "stage.json").is_file()]
    for stage in done:
        verified(output / stage["folder"])
    # What measures has labels for its rows, and leaves results.json and per_image.csv.
    measured = [stage for stage in done if stage["labels"]]
    missing = [stage for stage in stages if stage["labels"] and stage not in done]
    if not measured:
        raise FileNotFoundError(
            f"{output}: nothing is measured yet; run experiments.study again without --only"
        )
    files = [output / stage["folder"] / "results.json" for stage in measured]
    rows = pd.DataFrame(
        [
            row | {"curve_only": is_curve_only(stage)}
            for file, stage in zip(files, measured, strict=True)
            for row in listed(file)
        ]
    )
    rows = rows.assign(queries=rows.get("queries"))  # what was measured before has none
    rows = rows.fillna({"strength": "", "adaptive": "none", "countermeasure": "none"})
    answers = [output / stage["folder"] / "results.json" for stage in done if stage["command"] == ANSWERS]
    unasked = {stage["name"] for stage in stages if stage["command"] == ANSWERS and stage not in done}
    rows = _beside_answers(rows, [row for file in answers for row in listed(file)], unasked)
    found = [_per_image(output, stage) for stage in measured if not is_curve_only(stage)]
    per_image = pd.concat([lines for lines in found if len(lines)] or found, ignore_index=True)
    return Results(output, config, done, rows, per_image, missing, _columns([*files, *answers]))


def is_curve_only(stage: dict[str, Any]) -> bool:
    """Whether an attacker had so many answers alone, and another one all: see `Results.rows`."""
    return stage["labels"].get("queries") is not None


def _beside_answers(
    rows: pd.DataFrame, found: list[dict[str, Any]], unasked: Collection[str]
) -> pd.DataFrame:
    """Every row with what f's answers at its point give away, where that was measured; where it was to be and
    was not, by the stages `unasked`, `floor_note` says so."""
    if found:
        told = pd.DataFrame(found).drop(columns=[*COUNTS], errors="ignore")
        rows = rows.merge(told, on=POINT, how="left")
    missing = [f"{stage_of(row)}.{ANSWERS}" in unasked for row in rows.to_dict("records")]
    if any(missing):
        rows = rows.assign(floor_note=rows.get("floor_note")).astype({"floor_note": object})
        rows.loc[missing, "floor_note"] = UNASKED
    return rows


def _per_image(output: Path, stage: dict[str, Any]) -> pd.DataFrame:
    """What a stage found on each image; no line where the defence gives nothing away to attack."""
    labels = stage["labels"]
    path = output / stage["folder"] / "per_image.csv"
    lines = read_table(path, ("oracle", "restart", "row", "identity"), dtype={"restart": str})
    best = lines[lines["restart"] == "best"].reindex(columns=OUTCOME)
    named = {name: labels[name] for name in (*POINT, "attack")}
    how = {name: labels.get(name) or "none" for name in HOW}
    return best.assign(**named, trial=trial(labels), **how)


def _columns(results: list[Path]) -> tuple[Column, ...]:
    """What the stages say of their figures; of stages that say nothing, what is always measured."""
    files = [path.with_name("columns.json") for path in results]
    told = [column for file in files if file.is_file() for column in columns(file)]
    return tuple({column.name: column for column in told or describe_columns(Likeness().columns)}.values())


def chosen_images(store: TensorStore, rows: Tensor) -> Tensor:
    """(n, 3, H, W): of each image in these rows, the restart that the attack itself would choose.

    Raises:
        ValueError: one of them was not attacked.
    """
    stored = store.load("row", "images", "losses")
    if missing := rows[~torch.isin(rows, stored["row"])].tolist():
        raise ValueError(f"{store.path} holds no reconstruction of rows {missing[:5]}")
    best = Reconstruction(stored["images"], stored["losses"]).best()
    return best[torch.searchsorted(stored["row"], rows)]


def trial(labels: dict[str, Any]) -> str:
    """What an attack is called where its epochs and countermeasures have to be told apart."""
    epoch, countermeasure = labels.get("epoch"), labels.get("countermeasure")
    parts = [labels["attack"]]
    if epoch is not None and not pd.isna(epoch):
        parts.append(f"epoch {int(epoch)}")
    if isinstance(countermeasure, str) and countermeasure != "none":
        parts.append(f"against {countermeasure}")
    return ", ".join(parts)


def stage_of(line: pd.Series | dict[str, str]) -> str:
    """The stage that made a defence at one strength: 'crafter.beta=1'."""
    return ".".join(filter(None, (line[name] for name in POINT)))


def _draws(model: dict[str, Any]) -> bool | None:
    """One that cannot be imported any more says nothing; it was run, and the report is of its results."""
    try:
        return draws_anew(model)
    except Exception:  # whatever somebody's module raises
        return None
