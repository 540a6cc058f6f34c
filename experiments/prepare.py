"""Decode and check a study's data once: `python -m experiments.prepare --config FILE` writes splits.csv."""

from __future__ import annotations

import argparse
from pathlib import Path

import yaml

from experiments.study.data import SPLITS, prepare


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--config", type=Path, required=True, help="YAML with data (class_path, init_args) and output"
    )
    config = yaml.safe_load(parser.parse_args(args).config.read_text())
    prepare(config["data"]).write_splits(Path(config["output"], SPLITS))


if __name__ == "__main__":
    main()
