"""The study's faces, as each stage configures them.

    python -m experiments.study.data --config FILE

decodes and checks the data of a study's stage once, before all others, and writes splits.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, TypeVar

from pytorch_lightning import LightningDataModule

from datamodules.faces import USES, FaceDataModule
from experiments.classes import complete, import_class
from experiments.errors import ends_in_sentences
from facecrafter.cells import original
from facecrafter.documents import read_yaml
from facecrafter.files import for_owner_alone

SPLITS = "splits.csv"
DATA_STAGE = "data"
"""The stage that all others which read pictures wait for, so that they are decoded and checked once."""

VERSION = 1
"""Raised when what the data stage writes changes: a study then computes all anew."""


T = TypeVar("T")


class StudyData:
    """The study's datamodule with the overrides of single stages.

    Args:
        config: its `class_path` and `init_args`.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.base = config
        self._instances: dict[str, LightningDataModule] = {}
        self._read: dict[str, FaceDataModule] = {}
        self._fingerprints: dict[str, str] = {}

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
        if "class_path" in overrides:
            return dict(overrides)
        everybody = {"predict_limit": None, "predict_skip": 0}
        return {
            **overrides,
            **{name: value for name, value in everybody.items() if name in self.base.get("init_args", {})},
        }

    def instance(self, overrides: Mapping[str, Any], where: str) -> LightningDataModule:
        """The datamodule of a stage, not yet prepared.

        Raises:
            ValueError: naming `where` in the configuration the mistake is.
        """
        return self.made(self.config(overrides), where)

    def fingerprint(self, section: Mapping[str, Any]) -> str:
        """Hash of what the numbers of the data in a stage's configuration depend on."""
        text = _text(section)
        if text not in self._fingerprints:
            self._fingerprints[text] = str(self.made(section, "data").fingerprint())
        return self._fingerprints[text]

    def made(self, section: Mapping[str, Any], where: str) -> LightningDataModule:
        """The datamodule of a section, the same for the same; all of one set have its labels, read once."""
        class_of(section, where, LightningDataModule)
        text = _text(section)
        if text not in self._instances:
            found = self._instances[text] = made(section, where, self.made)
            if isinstance(found, FaceDataModule):
                reader = self._read.setdefault(_text(section, without=USES), found)
                if reader is not found:
                    found.read_as(reader)
        return self._instances[text]


def _text(section: Mapping[str, Any], without: Set[str] = frozenset()) -> str:
    given = section.get("init_args") or {}
    init_args = {name: value for name, value in given.items() if name not in without}
    return json.dumps({**section, "init_args": init_args}, sort_keys=True, default=str)


def prepare(config: Mapping[str, Any]) -> LightningDataModule:
    """The data of `class_path` and `init_args`, decoded and checked."""
    data = made(config, "data")
    data.prepare_data()
    data.setup()
    return data


def refuse_constant(data: LightningDataModule) -> None:
    """Sees that there is an attribute that can be told right or wrong of the protected pictures.

    Raises:
        ValueError: each is the same in all of them.
    """
    attributes = data.faces("private_test").attributes
    if bool((attributes == attributes[:1]).all()):
        raise ValueError(
            f"data: of the attributes ({', '.join(data.attribute_names)}) each is the same in every picture "
            "of private_test, so that no utility can be measured: name others in `attributes`"
        )


def refuse_other_pictures(config: Mapping[str, Any], folder: Path) -> None:
    """Sees that the pictures are still those of the splits.csv in `folder`.

    A stage's key knows of a picture its name and size, so that it is quickly made and the same on every
    machine. The image cache also sees that a file was written anew, and hashes its bytes again.

    Raises:
        ValueError: a picture was replaced by another of the same size.
    """
    splits = prepare(config).splits
    with (folder / SPLITS).open(newline="") as file:
        used = {(original(row["image"]), row["sha256"]) for row in csv.DictReader(file)}
    changed = sorted({image for image, _ in used ^ set(zip(splits.image, splits.sha256, strict=True))})
    if changed:
        raise ValueError(
            f"{changed[0]!r} is not the picture that {folder.parent} was computed from ({len(changed)} have "
            "changed); put it back, choose another --output, or compute everything again with --force data"
        )


def made(
    section: Mapping[str, Any],
    where: str,
    wrapped: Callable[[Mapping[str, Any], str], LightningDataModule] | None = None,
) -> LightningDataModule:
    """The datamodule that a section describes, arguments checked; what it wraps, made by `wrapped`, is its
    `data`."""
    found = class_of(section, where, LightningDataModule)
    if not hasattr(found, "fingerprint"):
        raise ValueError(f"{where}: {found.__name__} is no face data; derive it from FaceDataModule")
    arguments = dict(section.get("init_args") or {})
    make = wrapped or made
    inner = {"data": make(arguments.pop("data"), f"{where}.data")} if "data" in arguments else {}
    return found(**complete(found, arguments, where, inner), **inner)


def class_of(config: Any, where: str, kind: type[T] = object) -> type[T]:  # type: ignore[assignment]
    """The class, derived from `kind`, that a section with `class_path` and `init_args` names."""
    if not isinstance(config, Mapping) or "class_path" not in config:
        raise ValueError(f"{where}: expected class_path and init_args, not {config!r}")
    if unknown := sorted(set(config) - {"class_path", "init_args"}):
        raise ValueError(f"{where}: unknown key {unknown[0]!r}; the keys are class_path and init_args")
    return import_class(config["class_path"], where, kind)


@for_owner_alone()
def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, required=True, help="YAML with `data` and `output`")
    config = read_yaml(parser.parse_args(args).config, "run the study again, which writes it")
    data = prepare(config["data"])
    refuse_constant(data)
    data.write_splits(Path(config["output"], SPLITS))


if __name__ == "__main__":
    ends_in_sentences(main)()
