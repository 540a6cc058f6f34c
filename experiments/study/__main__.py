"""Run a whole comparison of defences: networks, defences, attacks, measurements and the report.

    python -m experiments.study --config experiments/configs/demo.yaml [--output DIR]

What is done is kept in the folder of artifacts under a key of everything it depends on, so a second run, or
one after a crash or a change of the configuration, computes only what is missing. A stage that
fails stops only what depends on it; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.errors import ends_in_sentences
from experiments.study.carry_out import run
from experiments.study.executors import NAMES
from facecrafter.files import for_owner_alone


def parse(args: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.study",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, required=True, help="the study's YAML")
    parser.add_argument("--output", type=Path, help="the study's folder; default studies/<name>")
    parser.add_argument(
        "--artifacts",
        help="where what is computed is kept, and shared with other studies: a folder, or the URL of any "
        "fsspec file system for machines that share no folder; default OUTPUT/artifacts",
    )
    parser.add_argument(
        "--jobs", type=int, help="stages that run at the same time; default: the configuration's"
    )
    parser.add_argument(
        "--executor",
        choices=NAMES,
        default="local",
        help="who runs the stages: processes on this machine, a Ray cluster (extra `ray`) or Slurm (`slurm`)",
    )
    parser.add_argument(
        "--jobs-per-gpu", type=int, default=1, help="stages that share a GPU (default: one for each)"
    )
    parser.add_argument(
        "--only",
        metavar="STAGE",
        action="append",
        default=[],
        help="run this stage or defence (a pattern), and what it builds on; may be said several times",
    )
    parser.add_argument(
        "--force",
        metavar="STAGE",
        action="append",
        default=[],
        help="compute this stage (a pattern) and all that builds on it again; may be said several times",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="try every kind of stage on a few pictures, and list the stages with what they will cost",
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="show stages, time left and the privacy-utility curve so far, live; lines where there is no "
        "terminal",
    )
    parser.add_argument(
        "--no-preflight",
        dest="try_first",
        action="store_false",
        help="do not try each kind of stage on a few pictures before the study starts",
    )
    return parser.parse_args(args)


@for_owner_alone()
@ends_in_sentences
def main(args: Sequence[str] | None = None) -> None:
    options = parse(args)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the stages are ended too
    try:
        sys.exit(run(**vars(options)))
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell has it; all that ran has been ended


if __name__ == "__main__":
    main()
