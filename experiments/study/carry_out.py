"""Carries out a study: plans its stages, runs what is missing, and has the report written."""

from __future__ import annotations

import fcntl
import fnmatch
import json
import os
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import yaml

from experiments.study.artifacts import Artifacts
from experiments.study.config import load
from experiments.study.data import SPLITS, refuse_other_pictures
from experiments.study.executors import make
from experiments.study.frontier import Point, points
from experiments.study.keys import Stage, ancestors, descendants, keys
from experiments.study.mirror import Mirror
from experiments.study.plan import Plan
from experiments.study.preflight import preflight, remember, tried
from experiments.study.runner import Runner
from experiments.study.views import clock
from experiments.study.watch import Watch
from facecrafter.data.refusals import nearest
from facecrafter.documents import perhaps
from facecrafter.files import checked_path, make_folder, write_whole
from lightning_modules.checkpoints import write_checked


def select(stages: Mapping[str, Stage], patterns: Collection[str]) -> set[str]:
    """Names of the stages that `patterns` mean: 'prior', 'crafter' with all below it, or '*white_box'.

    Raises:
        ValueError: one of them means none.
    """
    found: set[str] = set()
    for pattern in patterns:
        forms = (pattern, f"{pattern}.*")
        named = {name for name in stages if any(fnmatch.fnmatch(name, form) for form in forms)}
        if not named:
            raise ValueError(
                f"no stage is called {pattern!r}{perhaps(pattern, stages)}; --dry-run lists them"
            )
        found |= named
    return found


def describe(stages: Mapping[str, Stage], artifacts: Artifacts, wanted: set[str], jobs: int) -> None:
    """Print which stages are cached, and what the others will cost."""
    asked = [name for name in stages if name in wanted]
    missing = [name for name in asked if not artifacts.is_done(name)]
    print(f"{'stage':<44} {'state':<8} {'time':>9} {'disk':>10}")
    for name in asked:
        seconds = artifacts.expected_seconds(stages[name])
        megabytes = artifacts.expected_megabytes(stages[name])
        takes = "?" if seconds is None else clock(seconds)
        disk = "?" if megabytes is None else size(megabytes)
        print(f"{name:<44} {'to do' if name in missing else 'cached':<8} {takes:>9} {disk:>10}")
    runner = Runner(stages, artifacts, jobs)
    runner.waiting = missing
    unknown = [name for name in missing if artifacts.expected_seconds(stages[name]) is None]
    space_of = [artifacts.expected_megabytes(stages[name]) for name in missing]
    print(
        f"{len(missing)} of {len(wanted)} to do: about {clock(runner.seconds_left())} with {jobs} jobs, "
        f"{space(space_of)}" + (f"; {len(unknown)} of unknown cost not counted" if unknown else "")
    )


def space(stages: Sequence[float | None]) -> str:
    """What several stages take on disk; nobody knows it of some before they were tried."""
    known = [megabytes for megabytes in stages if megabytes is not None]
    if len(known) == len(stages):
        return size(sum(known))
    return f"at least {size(sum(known))}" if known else "disk unknown"


def size(megabytes: float) -> str:
    """Disk space, of which a little is not nothing."""
    return f"{megabytes:,.0f} MB" if megabytes >= 1 or not megabytes else "<1 MB"


def write_plan(plan: Plan, artifacts: Artifacts) -> bool:
    """Write the configuration and where each artifact is, for the report. True if that is news."""
    stages = [
        {
            "name": name,
            "command": stage.command,
            # Relative, so that a study's folder can be moved as a whole.
            "folder": os.path.relpath(artifacts.folder(name), artifacts.output.absolute()),
            "inputs": sorted(stage.inputs),
            "labels": plan.labels.get(name),
        }
        for name, stage in plan.stages.items()
    ]
    content = {
        artifacts.output / "study.yaml": yaml.safe_dump(plan.config.resolved(), sort_keys=False),
        artifacts.output / "plan.json": json.dumps(stages, indent=2),
    }
    changed = any(not path.is_file() or path.read_bytes() != text.encode() for path, text in content.items())
    for path, text in content.items():
        write_checked(path, text)
    return changed


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a second study out of the folder of artifacts, where the two would write over each other."""
    make_folder(folder)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"another study is running in {folder}; wait for it or choose another folder"
            ) from error
        yield


def live_view(plan: Plan, made: Artifacts) -> Watch:
    """The view that draws the curve of what is measured."""

    def curve() -> list[Point]:
        return points({made.folder(name): labels for name, labels in plan.labels.items()})

    return Watch(curve)


def publish_splits(artifacts: Artifacts) -> None:
    """Put splits.csv, which links photographs to people, beside the report, for its owner's eyes only."""
    write_whole(artifacts.output / SPLITS, (artifacts.folder("data") / SPLITS).read_bytes())


def report(output: Path) -> int:
    """Rebuild tables, figures and the page, whose path is printed last; the exit code."""
    return subprocess.run(
        [sys.executable, "-m", "experiments.report", "--study", str(output)], check=False
    ).returncode


def planned(config: Path) -> Plan:
    """The plan of a configuration.

    Raises:
        ValueError: it is none; the message names the file and what is wrong.
    """
    settings = load(config)
    try:
        return Plan(settings)
    except ValueError as error:
        raise ValueError(f"{config}: {error}") from error


def _refuse_file(path: Path) -> None:
    """Said now, and not by the first stage that writes there.

    Raises:
        ValueError: the folder, or one above it, is a file or cannot be written to.
    """
    here = next((one for one in (path, *path.parents) if one.exists()), Path())
    if not here.is_dir() or not os.access(here, os.W_OK):
        problem = "cannot be written to" if here.is_dir() else "is a file"
        raise ValueError(f"{path}: {here} {problem}; choose another folder")


def _near(path: Path) -> str:
    """What lies there under a name that may have been meant."""
    missing = next(one for one in (*reversed(path.parents), path) if not one.exists())
    return nearest(missing.name, [one.name for one in missing.parent.iterdir()])


def run(
    config: Path,
    output: Path | None = None,
    artifacts: str | Path | None = None,
    jobs: int | None = None,
    only: Collection[str] = (),
    force: Collection[str] = (),
    dry_run: bool = False,
    executor: str = "local",
    jobs_per_gpu: int = 1,
    try_first: bool = True,
    watch: bool = False,
) -> int:
    """Carry out a study; the arguments are those of the command line. Returns its exit code."""
    for path in filter(None, (output, artifacts)):
        checked_path(path, "the folder")
    if jobs is not None and jobs < 1:
        raise ValueError(f"--jobs must be at least 1, not {jobs}")
    plan = planned(config)
    settings, stages = plan.config, plan.stages
    output, jobs = output or Path("studies", settings.name), jobs or settings.jobs
    made = _artifacts(plan, output, artifacts)
    wanted = ancestors(stages, select(stages, only)) if only else set(stages)
    # What builds on a forced stage would else keep numbers made from what is thrown away.
    forced = descendants(stages, select(stages, force)) & wanted
    undone = {name for name in wanted if name in forced or not made.is_done(name)}
    made.estimates.update(tried(made))
    if try_first and undone - (set() if dry_run else made.estimates.keys()):
        _try(plan, made, undone, jobs, jobs_per_gpu)
        if output.is_dir() or not dry_run:
            remember(made)
    if dry_run:
        describe(stages, made, wanted, jobs)
        return 0
    make_folder(output)
    with locked(made.root):
        _take_up(plan, made, wanted, forced)
        changed = write_plan(plan, made)
        missing = [name for name in stages if name in wanted and not made.is_done(name)]
        engine = partial(make, executor, jobs, jobs_per_gpu)
        view = live_view(plan, made) if watch and sys.stdout.isatty() else None
        complete = Runner(stages, made, jobs, engine, view).run(missing)
        return _reported(plan, made, bool(missing) or changed) or int(not complete)


def _artifacts(plan: Plan, output: Path, named: str | Path | None) -> Artifacts:
    """Where what the study computes is kept: below `output`, in another folder or at a URL."""
    is_url = "://" in str(named)
    mirror = Mirror(str(named)) if is_url else None
    shared = None if named is None or is_url else Path(named)
    for folder in filter(None, (output, shared)):
        _refuse_file(folder)
    if shared and not shared.exists():
        print(f"{shared} is not there yet{_near(shared)}: nothing that was kept is reused", flush=True)
    return Artifacts(output, keys(plan.stages, plan.data.fingerprint), shared, mirror)


def _try(plan: Plan, made: Artifacts, undone: set[str], jobs: int, jobs_per_gpu: int) -> None:
    """The preflight of what is not done, and what it says of the time."""
    print(f"preflight: {len(undone)} stages are tried on a few pictures", flush=True)
    began = time.monotonic()
    made.estimates.update(preflight(plan, undone, jobs, made.output, jobs_per_gpu))
    print(f"preflight: all of them work; it took {clock(time.monotonic() - began)}", flush=True)


def _take_up(plan: Plan, made: Artifacts, wanted: set[str], forced: set[str]) -> None:
    """See that what is kept can be built on, and throw away what is forced."""
    made.verify(wanted - forced)
    # Before anything is computed: hours later it would be too late to say that pictures are gone.
    if made.is_done("data") and "data" not in forced:
        made.fetch("data")
        refuse_other_pictures(plan.config.data, made.folder("data"))
    # The last of a chain first: killed in between, what is left was all made from what is there.
    for name in reversed([name for name in plan.stages if name in forced]):
        made.discard(name)


def _reported(plan: Plan, made: Artifacts, is_news: bool) -> int:
    """Have the report written of what is done, if it is not of just that; its exit code."""
    if made.is_done("data"):
        publish_splits(made)
    if not any(made.is_done(name) for name in plan.labels):
        print("there is no report until an attack is measured")
        return 0
    for name in plan.stages:
        if made.is_done(name):
            made.fetch(name)  # the report reads results, logs and pictures
    page = made.output / "report.html"
    if is_news or not page.is_file():
        return report(made.output)
    print(page)
    return 0
