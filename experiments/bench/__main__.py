"""Measure one part of facecrafter against a reference, on this machine.

    python -m experiments.bench crafting [--parts cost,efficiency] [--quick] [--output F.json]

Prints the tables of each part; the JSON has `machine`, `versions` and `rows`, each row with its `part` and
its `case`. A reference and its rival are timed in the same run, on the same machine, with the same number of
threads; on a GPU where there is one.

The parts of `crafting`:
  cost        seconds per image and iteration, the published algorithm against the engine
  efficiency  FLOP/s of every layer, as a fraction of this machine's own matrix product
  scaling     seconds per image and peak memory, by number of images, latent size and batch
  quality     privacy against utility of both algorithms under fresh attacks, on trained networks
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.bench import cost, efficiency, quality, scaling
from experiments.bench.timing import tables
from experiments.machine import device, machine, versions

BENCHES = {
    "crafting": {
        "cost": cost,
        "efficiency": efficiency,
        "scaling": scaling,
        "quality": quality,
    }
}
"""Modules with the sizes FULL and QUICK (None: it has no quick form) and `rows(sizes, bar, device)`."""


def main(args: list[str] | None = None) -> None:
    options = parse(args)
    found: dict[str, Any] = {"machine": machine(), "versions": versions(), "rows": []}
    print(
        ", ".join(
            f"{key} {value}" for about in ("machine", "versions") for key, value in found[about].items()
        )
    )
    for part, sizes in options.sizes.items():
        with tqdm(desc=part, smoothing=0, bar_format="{l_bar}{bar}| left={remaining}") as bar:
            rows = BENCHES[options.name][part].rows(sizes, bar, device())
        print(f"\n{part}\n", *tables(rows), sep="\n", flush=True)
        found["rows"] += [{"part": part, **row} for row in rows]
        if options.output:  # after every part: the next may take hours
            options.output.write_text(json.dumps(found, indent=2) + "\n")


def parse(args: list[str] | None) -> argparse.Namespace:
    """The options; `sizes` becomes those of every part that is to be run."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=BENCHES, help="what to measure")
    parser.add_argument("--parts", type=lambda text: text.split(","), help="some of its parts; default: all")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="smaller cases, ten minutes on 2 cores; without quality, which takes hours",
    )
    parser.add_argument("--output", type=Path, help="also write the numbers to this JSON file")
    parser.add_argument("--sizes", type=json.loads, default={}, help=argparse.SUPPRESS)  # for tests
    options = parser.parse_args(args)
    parts = BENCHES[options.name]
    if unknown := set(options.parts or []) - set(parts):
        parser.error(f"{options.name} has no part {sorted(unknown)[0]!r}; its parts are {', '.join(parts)}")
    chosen = options.parts or [part for part in parts if not options.quick or parts[part].QUICK]
    sizes = {part: parts[part].QUICK if options.quick else parts[part].FULL for part in chosen}
    if missing := [part for part in chosen if sizes[part] is None]:
        parser.error(f"{missing[0]} has no quick form: run it without --quick")
    options.sizes = {part: replace(sizes[part], **options.sizes.get(part, {})) for part in chosen}
    return options


if __name__ == "__main__":
    main()
