"""The study's faces, as each stage configures them."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningDataModule

from experiments.classes import complete, import_class

SPLITS = "splits.csv"


class StudyData:
    """The study's datamodule with the overrides of single stages.

    Args:
        config: its `class_path` and `init_args`.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.base = config
        self._fingerprints: dict[str, str] = {}

    @cached_property
    def kind(self) -> type:
        """The datamodule's class."""
        return class_of(self.base, "data")

    def config(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """`class_path` and `init_args` for a stage.

        Overrides that name a class of their own wrap the study's data: the class gets it as its `data`, over
        which its own `data` may say more.
        """
        if "class_path" not in overrides:
            init_args = {**self.base.get("init_args", {}), **overrides}
            return {"class_path": self.base["class_path"], "init_args": init_args}
        init_args = overrides.get("init_args", {})
        wrapped = {**init_args, "data": self.config(init_args.get("data", {}))}
        return {**overrides, "init_args": wrapped}

    def for_training(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Overrides for what is the same however many images are protected."""
        if "class_path" in overrides or "predict_limit" not in self.base.get("init_args", {}):
            return dict(overrides)
        return {**overrides, "predict_limit": None}

    def fingerprint(self, overrides: Mapping[str, Any], where: str) -> str:
        """Hash of what the data's numbers depend on; the configuration is checked on the way."""
        text = json.dumps(self.config(overrides), sort_keys=True, default=str)
        if text not in self._fingerprints:
            self._fingerprints[text] = self.instance(overrides, where).fingerprint()
        return self._fingerprints[text]

    def instance(self, overrides: Mapping[str, Any], where: str) -> LightningDataModule:
        """The datamodule of a stage, not yet prepared."""
        config = self.config(overrides)
        if "class_path" not in overrides:
            return make_data(self.kind, config["init_args"], where)
        wrapper = class_of(overrides, where)
        inner = self.instance(config["init_args"]["data"]["init_args"], where)
        return make_data(wrapper, {**config["init_args"], "data": inner}, where)


def prepare(config: Mapping[str, Any]) -> LightningDataModule:
    """The data of `class_path` and `init_args`, decoded and checked."""
    found = import_class(config["class_path"], "data")
    data = make_data(found, config.get("init_args", {}), "data")
    data.prepare_data()
    data.setup()
    return data


def refuse_other_pictures(config: Mapping[str, Any], folder: Path) -> None:
    """Sees that the pictures are still those of the splits.csv in `folder`.

    A stage's key knows of a picture its name and size, so that it is quickly made and the same on every
    machine. The image cache also sees that a file was written anew, and hashes its bytes again.

    Raises:
        ValueError: a picture was replaced by another of the same size.
    """
    splits = prepare(config).splits
    with (folder / SPLITS).open(newline="") as file:
        used = {(row["image"], row["sha256"]) for row in csv.DictReader(file)}
    changed = sorted({image for image, _ in used ^ set(zip(splits.image, splits.sha256, strict=True))})
    if changed:
        raise ValueError(
            f"{changed[0]!r} is not the picture that {folder.parent} was computed from ({len(changed)} have "
            "changed); put it back, choose another --output, or compute everything again with --force data"
        )


def make_data(found: type, init_args: Mapping[str, Any], where: str) -> LightningDataModule:
    """Instantiate a datamodule, arguments checked."""
    if not issubclass(found, LightningDataModule) or not hasattr(found, "fingerprint"):
        raise ValueError(f"{where}: {found.__name__} is no face data; derive it from FaceDataModule")
    given = {name: value for name, value in init_args.items() if isinstance(value, LightningDataModule)}
    plain = {name: value for name, value in init_args.items() if name not in given}
    return found(**complete(found, plain, where, given), **given)


def class_of(config: Any, where: str) -> type:
    """The class that a section with `class_path` and `init_args` names."""
    if not isinstance(config, Mapping) or "class_path" not in config:
        raise ValueError(f"{where}: expected class_path and init_args, not {config!r}")
    if unknown := sorted(set(config) - {"class_path", "init_args"}):
        raise ValueError(f"{where}: unknown key {unknown[0]!r}; the keys are class_path and init_args")
    return import_class(config["class_path"], where)
