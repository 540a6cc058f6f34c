"""A study's files as the report reads them: another machine, or a stranger, may have written them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, NotRequired

import pandas as pd
from pydantic import Strict, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # of typing, pydantic takes it from Python 3.12 on

from experiments.evaluation.columns import Column
from facecrafter.documents import read_json, read_yaml
from lightning_modules.checkpoints import verify

REMEDY = "delete it and run experiments.study again, with --force STAGE where it is a stage's"
Text = Annotated[str, Strict()]


class Labels(TypedDict):
    """What the rows of a stage that measures are called, so far as the report tells stages apart by it."""

    defence: Text
    strength: Text
    attack: Text
    epoch: NotRequired[int | None]
    countermeasure: NotRequired[Text | None]


class Planned(TypedDict):
    """A stage of plan.json."""

    name: Text
    command: Text
    folder: Text
    inputs: list[Text]
    labels: Labels | None


def study_config(output: Path) -> dict[str, Any]:
    """The resolved configuration of the study in `output`.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged.
    """
    path = output / "study.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"{output} is no study: {path.name} is missing; run experiments.study first")
    verify(path)
    content = read_yaml(path, REMEDY)
    if not isinstance(content, dict) or not isinstance(content.get("data"), dict):
        raise ValueError(f"{path} is no study's configuration; {REMEDY}")
    return content


def plan(output: Path) -> list[dict[str, Any]]:
    """The stages of the study in `output`, done or not; raises what `study_config` raises."""
    path = output / "plan.json"
    if not path.is_file():
        raise FileNotFoundError(f"{output} is no study: {path.name} is missing; run experiments.study first")
    verify(path)
    found: list[dict[str, Any]] = listed(path)
    _check(list[Planned], found, path)
    for stage in found:
        try:
            (output / stage["folder"]).is_dir()
        except OSError as error:  # no file system would have such a name
            folder = f"{stage['folder'][:40]!r}..."
            raise ValueError(f"{path}: the folder {folder}: {error.strerror}; {REMEDY}") from error
    return found


def columns(path: Path) -> list[Column]:
    """What a stage says of its figures; ValueError where it says nothing that could be shown."""
    found: list[Column] = _check(list[Column], listed(path), path)
    for column in found:
        try:
            format(0.5, column.format)
        except ValueError as error:
            raise ValueError(f"{path}: {column.format!r} is no format of a number; {REMEDY}") from error
    return found


def listed(path: Path) -> list[dict[str, Any]]:
    """A JSON file that holds a list of objects."""
    content = read_json(path, REMEDY)
    if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
        raise ValueError(f"{path} holds no list of objects; {REMEDY}")
    return content


def read_table(path: Path, needed: Iterable[str] = (), **options: Any) -> pd.DataFrame:
    """A CSV file with the columns that are `needed`; options are those of `pandas.read_csv`."""
    try:
        found = pd.read_csv(path, **options)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as CSV: {error}; {REMEDY}") from error
    if absent := [name for name in needed if name not in found]:
        raise ValueError(f"{path} has no column {absent[0]!r}; {REMEDY}")
    return found


def _check(kind: Any, content: Any, path: Path) -> Any:
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{path}: {place}: {first['msg']}; {REMEDY}") from error
