"""The study's faces, as each stage configures them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from pytorch_lightning import LightningDataModule

from experiments.classes import complete, import_class


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
            self._fingerprints[text] = self._make(overrides, where).fingerprint()
        return self._fingerprints[text]

    def _make(self, overrides: Mapping[str, Any], where: str) -> LightningDataModule:
        config = self.config(overrides)
        if "class_path" not in overrides:
            return make_data(self.kind, config["init_args"], where)
        wrapper = class_of(overrides, where)
        inner = self._make(config["init_args"]["data"]["init_args"], where)
        return make_data(wrapper, {**config["init_args"], "data": inner}, where)


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
