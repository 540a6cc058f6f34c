"""Runs stages, several at a time, and says what is going on. A failed one stops only what depends on it."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from functools import partial
from pathlib import Path

from experiments.errors import sentence
from experiments.machine import cores
from experiments.study.artifacts import Artifacts
from experiments.study.executors import make
from experiments.study.executors.base import Executor, Job, WorkerDied
from experiments.study.keys import Stage, descendants
from experiments.study.time_left import Pace, Timed, makespan
from experiments.study.views import Progress, Running, View, clock, plain_view

TAIL = 25  # lines of a failed stage's log that are shown
POLL = 0.2  # seconds
TRIES = 2  # of a stage whose worker dies

Engine = Callable[[Mapping[str, str], Iterable[str]], Executor]
"""From the jobs' environment and the modules they run to who runs them."""


class Runner:
    """Runs the `missing` stages, at most `jobs` at a time, the longest chains first.

    Args:
        stages: all of the study's, ordered.
        artifacts: where they leave what they make.
        jobs: stages at the same time.
        engine: makes the executor; default: processes on this machine.
        view: is told what is going on; default: what the output can show.
    """

    def __init__(
        self,
        stages: Mapping[str, Stage],
        artifacts: Artifacts,
        jobs: int,
        engine: Engine | None = None,
        view: View | None = None,
    ) -> None:
        self.stages, self.artifacts, self.jobs = stages, artifacts, jobs
        self.engine: Engine = engine or partial(make, "local", jobs, 1)
        self.view = view or plain_view()
        self.threads = _threads(jobs)
        self.waiting: list[str] = []
        self.undone: set[str] = set()
        self.running: dict[Future[int], str] = {}
        self.started: dict[str, float] = {}
        self.deaths: Counter[str] = Counter()
        self.taken: dict[str, float] = {}  # seconds of the stages that are done
        self.failed: dict[str, str] = {}  # why
        self.not_run: dict[str, str] = {}  # the stage that failed before it
        self.expected = {name: artifacts.expected_seconds(stage) or 0.0 for name, stage in stages.items()}

    def run(self, missing: Iterable[str]) -> bool:
        """True if all of them are done at the end."""
        # What the most work waits for comes first: begun last, it would run alone at the end.
        self.waiting = sorted(missing, key=self._chain, reverse=True)
        self.total = len(self.waiting)
        self.undone = set(self.waiting)
        if not self.waiting:
            return True
        environment = {
            "OMP_NUM_THREADS": str(self.threads),
            "TQDM_MININTERVAL": "5",
            "PYTHONUNBUFFERED": "1",
            "WANDB_RUN_GROUP": wandb_group(self.artifacts.output),
        }
        commands = sorted({f"experiments.{self.stages[name].command}" for name in self.waiting})
        self.executor = self.engine(environment, commands)
        try:
            with self.view:
                self._run_all()
        except (KeyboardInterrupt, SystemExit):
            names = ", ".join(self.running.values())
            self.view.say(f"stopping {names}; what is done is kept, run again to go on")
            raise
        finally:
            self.executor.stop()
        self._conclude()
        return not self.failed

    def _run_all(self) -> None:
        shown = 0.0
        while self.running or self.waiting:
            self._start_ready()
            for future in wait(self.running, POLL, FIRST_COMPLETED).done:
                self._finish(self.running.pop(future), future)
            if time.monotonic() - shown > self.view.every and self.running:
                shown = time.monotonic()
                self.view.show(self.progress())

    def seconds_left(self) -> float:
        """Time until all is done, as the stages that are done and those that run let expect."""
        return self._until(self._left())

    def _until(self, left: Mapping[str, float]) -> float:
        after = {name: self.stages[name].inputs for name in left}
        return makespan(left, after, list(left), self.jobs)

    def _left(self) -> dict[str, float]:
        """Seconds that each stage takes yet: those that run, then those that wait, in their order."""
        running = {name: self._timed(name, self._seconds(name)) for name in self.running.values()}
        done = [replace(self._timed(name, seconds), shown=0.0) for name, seconds in self.taken.items()]
        pace = Pace([*done, *running.values()])
        waiting = {name: Timed(kind(self.stages[name]), self.expected[name]) for name in self.waiting}
        return {name: pace.left(stage) for name, stage in (running | waiting).items()}

    def _timed(self, name: str, seconds: float) -> Timed:
        return Timed(kind(self.stages[name]), self.expected[name], seconds, self.artifacts.seconds_left(name))

    def _chain(self, name: str) -> float:
        """Seconds of work that wait for this stage, itself included."""
        return sum(self.expected[other] for other in descendants(self.stages, [name]))

    def _start_ready(self) -> None:
        for name in list(self.waiting):
            if len(self.running) >= self.jobs:
                return
            stage = self.stages[name]
            if not stage.inputs & self.undone:
                job = self._job(stage)
                # One that an idle engine does not accept would wait for ever: the engine shall say why.
                if self.executor.accepts(job) or not self.running:
                    self._start(stage, job)

    def _start(self, stage: Stage, job: Job) -> None:
        self.waiting.remove(stage.name)
        try:
            self.artifacts.begin(stage)
        except OSError as error:  # a full disk, say: what runs may have a folder with room left
            self._fail(stage.name, sentence(error))
            return
        self.started[stage.name] = time.monotonic()
        self.view.say(f"start  {stage.name}")
        self.running[self._submit(job)] = stage.name

    def _submit(self, job: Job) -> Future[int]:
        """Begin `job`; where the engine cannot, that is the job's failure and no other's."""
        try:
            return self.executor.submit(job)
        except (ValueError, RuntimeError, OSError, WorkerDied) as error:
            refused: Future[int] = Future()
            refused.set_exception(error)
            return refused

    def _job(self, stage: Stage) -> Job:
        arguments = ["--config", str(self.artifacts.config(stage.name))]
        if stage.command == "fit":
            # The key says the precision of this machine: a worker that has another may not fall back on it.
            arguments += ["--threads", str(self.threads), "--fall_back", "false"]
        run = {"WANDB_NAME": stage.name, "WANDB_JOB_TYPE": stage.command}
        # An engine must not pack more stages onto a machine than their threads have cores.
        needs = replace(stage.needs, cpus=max(stage.needs.cpus, self.threads))
        command, log = stage.command, self.artifacts.log(stage.name)
        if mirror := self.artifacts.mirror:
            inputs = [self.artifacts.folder(name) for name in sorted(stage.inputs)]
            arguments = mirror.wrapped(self.artifacts.folder(stage.name), inputs, command, arguments)
            command = "study.mirror"
        return Job(stage.name, command, tuple(arguments), log, run, needs)

    def _seconds(self, name: str) -> float:
        """How long the stage has been running."""
        return time.monotonic() - self.started[name]

    def _finish(self, name: str, future: Future[int]) -> None:
        seconds = self._seconds(name)
        try:
            code = future.result()
        except WorkerDied as death:
            self.deaths[name] += 1
            if self.deaths[name] < TRIES:
                # At the front: what depends on it has waited already.
                self.waiting.insert(0, name)
                self.view.say(f"DIED   {name}: {death}; it is tried once more")
            else:
                self._fail(name, f"{death}, {TRIES} times")
            return
        except Exception as error:  # of the engine, whichever it is
            self._fail(name, f"{type(error).__name__}: {error}")
            return
        if code == 0:
            try:
                self.artifacts.finish(self.stages[name], seconds)
            except OSError as error:
                self._fail(name, sentence(error))
                return
            self.taken[name] = seconds
            self.undone.discard(name)
            self.view.say(f"done   {name} in {clock(seconds)}{self._pictures(name)}")
        else:
            self._fail(name, f"exit code {code}")

    def _pictures(self, name: str) -> str:
        """Where a stage that drew what it learned has left that: the first thing to look at."""
        folder = self.artifacts.folder(name) / "images"
        return f"; pictures in {os.path.relpath(folder)}" if folder.is_dir() else ""

    def _fail(self, name: str, reason: str) -> None:
        """Say why, and give up what depends on it."""
        self.failed[name] = reason
        log = self.artifacts.log(name)
        self.view.say(f"FAILED {name} ({reason}); the end of {log}:")
        self.view.say("\n".join(f"    {line}" for line in _tail(log)))
        lost = descendants(self.stages, [name])
        self.not_run |= {other: name for other in self.waiting if other in lost}
        self.waiting = [other for other in self.waiting if other not in lost]

    def _conclude(self) -> None:
        """What failed, and what was not run because of it: the messages above may be hours apart."""
        for name, reason in self.failed.items():
            log = self.artifacts.log(name)
            last = next((line for line in reversed(_tail(log)) if line.strip()), "its log is empty")
            self.view.say(f"failed: {name} ({reason}): {last.strip()}\n  see {log}")
            if lost := [other for other, cause in self.not_run.items() if cause == name]:
                self.view.say(f"  not run because of it: {', '.join(lost)}")
        if self.failed:
            done = self.total - len(self.failed) - len(self.not_run)
            self.view.say(f"{done} of {self.total} stages are done and kept; run again to go on")

    def progress(self) -> Progress:
        """How far all is."""
        names = [*self.waiting, *self.running.values()]
        lost = len(self.failed) + len(self.not_run)
        left = self._left()
        return Progress(
            done=self.total - len(names) - lost,
            failed=lost,
            total=self.total,
            running=[Running(name, self._seconds(name), left[name]) for name in self.running.values()],
            waiting=self.waiting,
            left=self._until(left),
            is_least=not all(self.expected[name] for name in names),
        )


def wandb_group(output: Path) -> str:
    """What the study in `output` is called in Weights & Biases, unless the environment says otherwise."""
    return os.environ.get("WANDB_RUN_GROUP", output.absolute().name)


def kind(stage: Stage) -> str:
    """The same for stages that run the same code: of a defence's strengths, say."""
    section = stage.config.get("model") or stage.config.get("attack") or {}
    return f"{stage.command} {section.get('class_path', '')}"


def _tail(log: Path) -> list[str]:
    """The last lines of a log; none where the job did not get as far as one."""
    text = log.read_text(errors="replace") if log.is_file() else ""
    return text.replace("\r", "\n").splitlines()[-TAIL:]


def _threads(jobs: int) -> int:
    """Of each of `jobs`: an equal share of the cores, or fewer where OMP_NUM_THREADS says so.

    Whoever runs a second study on a machine, or shares it, sets that: threads that wait for each other where
    others compute, too, take ten times as long.
    """
    share = max(1, cores() // jobs)
    said = os.environ.get("OMP_NUM_THREADS", "")
    return min(share, int(said)) if said.isdecimal() and int(said) else share
