"""Before a study starts, every kind of its stages is carried out on a sample, by its own command.

What would fail after hours fails in the first minute, all of it at once, and what the steps take says how
long the study will. Nothing of a trial is left: it has a temporary folder, and pictures of its own in it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

from experiments.study.artifacts import Artifacts, Estimate
from experiments.study.data import made
from experiments.study.executors import make
from experiments.study.keys import Stage, ancestors
from experiments.study.plan import Plan
from experiments.study.preflight.causes import cause, remedy
from experiments.study.preflight.checks import mistakes
from experiments.study.preflight.estimates import Estimates
from experiments.study.preflight.trials import Trial, pictures, representatives, trial
from experiments.study.runner import Runner
from experiments.study.views import Counted
from facecrafter.documents import read_json
from facecrafter.files import make_folder, write_whole

MEMORY = "preflight.json"
"""File of a study: what the trials of stages said, by key."""
LOGS = "preflight"
"""Folder of a study that receives the logs of trials that failed."""


def tried(made: Artifacts) -> dict[str, Estimate]:
    """What earlier trials of stages with these keys have said."""
    file = made.output / MEMORY
    known = read_json(file, "delete it: it only says what was tried") if file.is_file() else {}
    return {name: Estimate(**known[key]) for name, key in made.keys.items() if key in known}


def remember(made: Artifacts) -> None:
    """Keep what the trials have said, so that a study that is started again need not repeat them."""
    content = {made.keys[name]: asdict(estimate) for name, estimate in made.estimates.items()}
    write_whole(made.output / MEMORY, json.dumps(content, indent=1))


def preflight(
    plan: Plan, wanted: Collection[str], jobs: int, output: Path, jobs_per_gpu: int = 1
) -> dict[str, Estimate]:
    """Try the stages that are `wanted`, and all that they build on.

    Args:
        output: the study's folder, which receives the logs of trials that fail.

    Returns:
        What each of them will take.

    Raises:
        ValueError: some would fail; it names each, why, and what would help.
    """
    stages = plan.stages
    same = representatives(plan, ancestors(stages, wanted))
    needed = ancestors(stages, same.values())
    chosen = {name: stages[name] for name in stages if name in needed}
    folder = Path(tempfile.mkdtemp(prefix="facecrafter-preflight-"))
    try:
        count = pictures(chosen)
        trials = {name: trial(stage, count, folder / "cache") for name, stage in chosen.items()}
        found = _carry_out(trials, folder, jobs, jobs_per_gpu, output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {name: found[first] for name, first in same.items()}


def _carry_out(
    trials: Mapping[str, Trial], folder: Path, jobs: int, jobs_per_gpu: int, output: Path
) -> dict[str, Estimate]:
    stages = {name: trial.stage for name, trial in trials.items()}
    names = {name: hashlib.sha256(name.encode()).hexdigest() for name in stages}
    artifacts = Artifacts(folder, names)
    runner = Runner(stages, artifacts, jobs, partial(make, "local", jobs, jobs_per_gpu), Counted("preflight"))
    runner.run(stages)
    problems = {
        name: f"{why}; {cause(artifacts.log(name))}" if why != "exit code 1" else cause(artifacts.log(name))
        for name, why in runner.failed.items()
    }
    problems |= _check(stages, artifacts, set(runner.failed) | set(runner.not_run))
    if problems:
        raise ValueError(_told(problems, runner.not_run, artifacts, output))
    seconds = {name: artifacts.earlier(name)["seconds"] for name in stages}
    estimates = Estimates(trials, artifacts, seconds)
    return {name: estimates.of(name) for name in stages}


def _check(stages: Mapping[str, Stage], artifacts: Artifacts, left_out: Collection[str]) -> dict[str, str]:
    """What is wrong with outputs of trials that went well."""
    sizes = made(stages["data"].config["data"], "data").sizes()  # type: ignore[operator]
    found = {}
    for name, stage in stages.items():
        if name not in left_out and (wrong := list(mistakes(stage, artifacts.folder(name), sizes))):
            found[name] = "; ".join(wrong)
    return found


def _told(problems: Mapping[str, str], not_run: Mapping[str, str], artifacts: Artifacts, output: Path) -> str:
    lines = [f"{len(problems)} of the study's stages would fail, and nothing was computed:"]
    for name, why in problems.items():
        lines.append(f"{name}: {why}")
        if help_ := remedy(why):
            lines.append(f"    remedy: {help_}")
        if lost := [other for other, first in not_run.items() if first == name]:
            lines.append(f"    not tried because of it: {', '.join(lost)}")
        if artifacts.log(name).is_file():
            kept = output / LOGS / f"{name}.log"
            make_folder(kept.parent)
            shutil.copyfile(artifacts.log(name), kept)
            lines.append(f"    its log: {kept}")
    return "\n  ".join(lines)
