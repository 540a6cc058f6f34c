"""Time one part of facecrafter against a reference.

    python -m experiments.bench crafting [--quick] [--output F.json]

Prints one table; the JSON has `machine`, `versions` and `rows`, each row with its `case`. A reference and its
rival are timed in the same run, on the same machine, with the same number of threads.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from experiments import bench_crafting
from experiments.machine import machine, versions

BENCHES = {"crafting": bench_crafting}
"""Modules with the sizes FULL and QUICK, `work(sizes)` in units of a progress bar, and `rows(sizes, bar)`."""


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=BENCHES, help="what to time")
    parser.add_argument("--quick", action="store_true", help="fewer cases of smaller networks")
    parser.add_argument("--output", type=Path, help="also write the numbers to this JSON file")
    parser.add_argument("--sizes", type=json.loads, default={}, help=argparse.SUPPRESS)  # for tests
    options = parser.parse_args(args)
    bench = BENCHES[options.name]
    sizes = replace(bench.QUICK if options.quick else bench.FULL, **options.sizes)
    found = {"machine": machine(), "versions": versions()}
    with tqdm(total=bench.work(sizes), smoothing=0, bar_format="{l_bar}{bar}| left={remaining}") as bar:
        rows = bench.rows(sizes, bar)
    if options.output:
        options.output.write_text(json.dumps({**found, "rows": rows}, indent=2) + "\n")
    print(", ".join(f"{name} {value}" for part in found.values() for name, value in part.items()))
    print(pd.DataFrame(rows).to_string(index=False, na_rep="", float_format="{:.4g}".format))


if __name__ == "__main__":
    main()
