"""Rebuild a study's tables, figures and page.

    python -m experiments.report --study DIR [--other-seeds DIR ...] [--publish docs/results/NAME.md]

The page of a study on real people shows no face unless --faces says so; what --publish writes never does.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from experiments.errors import ends_in_sentences
from experiments.report.build import build
from experiments.report.exports import FORMATS
from experiments.report.reading import study_config
from experiments.report.results import LICENSED


@ends_in_sentences
def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--study", type=Path, required=True, help="the study's folder")
    parser.add_argument(
        "--faces", action="store_true", help="show faces although the data is not known to allow it"
    )
    parser.add_argument(
        "--publish", type=Path, metavar="FILE.md", help="also write a short Markdown page without any face"
    )
    parser.add_argument(
        "--other-seeds",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="studies that differ in their seed, or their data's, alone",
    )
    parser.add_argument(
        "--also",
        nargs="+",
        choices=FORMATS,
        default=[],
        help="formats beside CSV, PNG and SVG: tables as Parquet (extra `tables`) and LaTeX, figures as PDF",
    )
    options = parser.parse_args(args)
    allowed = study_config(options.study)["data"].get("class_path") in LICENSED
    show_faces = options.faces or allowed
    print(build(options.study, show_faces, options.publish, options.other_seeds, options.also))


if __name__ == "__main__":
    main()
