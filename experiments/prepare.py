"""Decode and check a study's data once: `python -m experiments.prepare --config FILE` writes splits.csv."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning import LightningDataModule

from experiments.classes import import_class
from experiments.study.data import make_data

SPLITS = "splits.csv"


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


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--config", type=Path, required=True, help="YAML with data (class_path, init_args) and output"
    )
    config = yaml.safe_load(parser.parse_args(args).config.read_text())
    prepare(config["data"]).write_splits(Path(config["output"], SPLITS))


if __name__ == "__main__":
    main()
