"""Do faults to the software, count what comes of them, and write the table of docs/faults.md.

    PYTHONPATH=src:.:tests python -m faults [--parts kills flips files] [--output docs/faults.md]

Hours on two cores. Exit code 1 if a number differed, or a fault went unnamed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

from faults.flips import HARMLESS_IN, NAMED, flip
from faults.fuzz import fuzz
from faults.kills import Life, of_fits, of_studies
from faults.processes import PATIENCE, Process
from faults.subjects import start_study

PARTS = ("fit kills", "study kills", "flips", "files", "ranks")
ROOT = Path(__file__).parents[2]
HEAD = "| fault | tried | outcome |\n| --- | --- | --- |\n"


class Row(NamedTuple):
    """A line of the table."""

    fault: str
    tried: str
    outcome: str

    def __str__(self) -> str:
        return f"| {self.fault} | {self.tried} | {self.outcome} |"


def write_rows(page: Path, rows: list[Row]) -> None:
    """Put the rows into the page's table, each in place of an earlier one of the same fault."""
    text = page.read_text()
    before, head, rest = text.partition(HEAD)
    table = re.match(r"(?:\|[^\n]*\n)*", rest)[0]  # type: ignore[index]
    lines = {line.split(" | ")[0]: line for line in table.splitlines()}
    lines |= {str(row).split(" | ")[0]: str(row) for row in rows}
    page.write_text(before + head + "".join(f"{line}\n" for line in lines.values()) + rest[len(table) :])


def fit_kills(folder: Path, options: argparse.Namespace) -> tuple[list[Row], list[str]]:
    what = "a fit of every module that is trained but linkers and eraser, and of Crafter"
    return killed(what, of_fits(folder, options.kills, options.seed))


def study_kills(folder: Path, options: argparse.Namespace) -> tuple[list[Row], list[str]]:
    return killed("a tiny study, or of a process below it", of_studies(folder, options.kills, options.seed))


def killed(what: str, lives: Iterable[Life]) -> tuple[list[Row], list[str]]:
    """The row about these lives, and what is wrong with them."""
    lives = list(lives)
    wrong = [life.wrong for life in lives if life.wrong]
    outcome = f"{len(lives)} runs to the end, {len(wrong)} of them with any number that differs"
    kills = sum(life.kills for life in lives)
    row = Row(f"a kill at a random moment, half of them in writes, of {what}", f"{kills} times", outcome)
    return [row], wrong


def flips(folder: Path, options: argparse.Namespace) -> tuple[list[Row], list[str]]:
    found, wrong = flip(_finished(folder), options.flips, options.seed)
    named = sum(count for (_, outcome), count in found.items() if outcome == NAMED)
    harmless = [
        f"`{what}` {count} ({HARMLESS_IN.get(what, 'which nobody noticed')})"
        for (what, outcome), count in sorted(found.items())
        if outcome != NAMED
    ]
    kinds = len({what for what, _ in found})
    outcome = f"{named} named when the file was used; without a number: {', '.join(harmless) or 'none'}"
    row = Row(f"a flipped bit in one of {kinds} kinds of files of a study", f"{options.flips} times", outcome)
    return [row], wrong


def files(folder: Path, options: argparse.Namespace) -> tuple[list[Row], list[str]]:
    found, wrong = fuzz(folder, _finished(folder), options.files, options.seed)
    rows = []
    for name, outcomes in found.items():
        read, refused, others = (outcomes[kind] for kind in ("read", "refused", "wrong"))
        outcome = f"{read} read, {refused} refused with file and reason, {others} otherwise"
        rows.append(Row(f"damaged: {name}", f"{sum(outcomes.values())} times", outcome))
    return rows, wrong


def ranks(folder: Path, options: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """The test that compares two ranks with one, module by module."""
    test = "tests/experiments/test_fit_ranks.py"
    line = [sys.executable, "-m", "pytest", "-q", test]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    counts = re.findall(r"\d+ (?:passed|failed|skipped|error)", done.stdout[-300:])
    row = Row(
        f"two ranks in place of one (`{test}`)",
        "every trained module but linkers and eraser",
        ", ".join(counts),
    )
    return [row], [done.stdout[-3000:]] if done.returncode else []


@contextmanager
def emptied() -> Iterator[Path]:
    """A temporary folder. A TemporaryDirectory is also deleted by an exit function, which forks inherit: the
    first job of a study that ends would delete it."""
    folder = Path(mkdtemp())
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _finished(folder: Path) -> Path:
    """A study that was run to its end."""
    process = Process(lambda: start_study(folder), folder / "log")
    assert process.ends_within(PATIENCE), process.log.read_text()
    assert process.code == 0, process.log.read_text()
    return folder / "study"


def parse(args: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS, help="default: all")
    parser.add_argument("--kills", type=int, default=200, help="of fits, and of studies (default: 200)")
    parser.add_argument("--flips", type=int, default=1_000, help="flipped bits (default: 1000)")
    parser.add_argument("--files", type=int, default=10_000, help="damaged files (default: 10000)")
    parser.add_argument("--seed", type=int, default=0, help="of all draws (default: 0)")
    parser.add_argument("--output", type=Path, help="the page whose table gets the outcome")
    return parser.parse_args(args)


def main(args: list[str] | None = None) -> None:
    options = parse(args)
    os.environ |= {"WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    os.environ["PYTHONPATH"] = os.pathsep.join(map(str, (ROOT / "src", ROOT, ROOT / "tests")))
    todo = {part: globals()[part.replace(" ", "_")] for part in options.parts}
    wrong: Counter[str] = Counter()
    for part, do in todo.items():
        with emptied() as folder:
            os.environ["FACECRAFTER_CACHE"] = f"{folder}/cache"
            rows, errors = do(folder, options)
        wrong[part] = len(errors)
        print(*rows, *errors[:20], sep="\n", flush=True)
        if options.output:
            write_rows(options.output, rows)
    sys.exit(int(wrong.total() > 0))


if __name__ == "__main__":
    main()
