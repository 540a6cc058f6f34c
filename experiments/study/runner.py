"""Runs stages in processes of their own, several at a time, and says what is going on."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path

from experiments.study.stage_server import StageServer, StageServerDied
from experiments.study.stages import Stage, descendants
from experiments.study.workshop import Workshop

TAIL = 25  # lines of a failed stage's log that are shown
POLL = 0.2  # seconds
REPORT_EVERY = 60.0  # seconds between two summaries where the output is no terminal


class Runner:
    """Runs the `missing` stages, at most `jobs` at a time, the longest chains first.

    After a failure nothing new is started, but what runs is waited for and kept.
    """

    def __init__(self, stages: Mapping[str, Stage], workshop: Workshop, jobs: int) -> None:
        self.stages, self.workshop, self.jobs = stages, workshop, jobs
        self.threads = max(1, _cores() // jobs)
        self.waiting: list[str] = []
        self.running: dict[str, float] = {}  # when each was started
        self.failed: list[str] = []
        self.expected = {name: workshop.expected_seconds(stage) or 0.0 for name, stage in stages.items()}

    def run(self, missing: Iterable[str]) -> bool:
        """True if all of them are done at the end."""
        self.waiting = sorted(missing, key=self._chain, reverse=True)
        self.total = len(self.waiting)
        if not self.waiting:
            return True
        environment = {
            "OMP_NUM_THREADS": str(self.threads),
            "TQDM_MININTERVAL": "5",
            "PYTHONUNBUFFERED": "1",
            "WANDB_RUN_GROUP": wandb_group(self.workshop.output),
        }
        self.server = StageServer(sorted({self._module(name) for name in self.waiting}), environment)
        try:
            self._run_all()
        except StageServerDied as error:
            self._say(f"FAILED {', '.join(self.running)}: {error}")
            return False
        finally:
            self.server.stop()
        return not self.failed

    def _run_all(self) -> None:
        shown = 0.0
        while self.running or (self.waiting and not self.failed):
            self._start_ready()
            for name, code in self.server.ended(POLL):
                self._finish(name, code)
            if time.monotonic() - shown > (1.0 if sys.stdout.isatty() else REPORT_EVERY) and self.running:
                shown = time.monotonic()
                self._show()

    def seconds_left(self) -> float:
        """Time until all is done: that of the longest chain, or of the work shared by all jobs."""
        left = {name: self.expected[name] for name in self.waiting}
        for name in self.running:
            shown = self.workshop.seconds_left(name)
            left[name] = max(self.expected[name] - self._seconds(name), 0.0) if shown is None else shown
        chains: dict[str, float] = {}
        for name, stage in self.stages.items():
            chains[name] = left.get(name, 0.0) + max((chains[other] for other in stage.inputs()), default=0.0)
        return max(max(chains.values(), default=0.0), sum(left.values()) / self.jobs)

    def _chain(self, name: str) -> float:
        """Seconds of work that wait for this stage, itself included."""
        return sum(self.expected[other] for other in descendants(self.stages, [name]))

    def _start_ready(self) -> None:
        for name in list(self.waiting):
            if len(self.running) >= self.jobs or self.failed:
                return
            if all(self.workshop.is_done(other) for other in self.stages[name].inputs()):
                self.waiting.remove(name)
                self._start(self.stages[name])

    def _start(self, stage: Stage) -> None:
        arguments = ["--config", str(self.workshop.write_config(stage))]
        if stage.command == "fit":
            arguments += ["--threads", str(self.threads)]
        self.running[stage.name] = time.monotonic()
        module, log = self._module(stage.name), self.workshop.log(stage.name)
        run = {"WANDB_NAME": stage.name, "WANDB_JOB_TYPE": stage.command}
        self.server.start(stage.name, module, arguments, log, run)
        self._say(f"start  {stage.name}")

    def _seconds(self, name: str) -> float:
        """How long the stage has been running."""
        return time.monotonic() - self.running[name]

    def _module(self, name: str) -> str:
        return f"experiments.{self.stages[name].command}"

    def _finish(self, name: str, code: int) -> None:
        seconds = self._seconds(name)
        del self.running[name]
        if code == 0:
            self.workshop.finish(self.stages[name], seconds)
            self._say(f"done   {name} in {clock(seconds)}")
        else:
            self.failed.append(name)
            self._explain(name, code)

    def _explain(self, name: str, code: int) -> None:
        log = self.workshop.log(name)
        lines = log.read_text(errors="replace").replace("\r", "\n").splitlines()
        self._say(f"FAILED {name} (exit code {code}); the end of {log}:")
        print("\n".join(f"    {line}" for line in lines[-TAIL:]), flush=True)
        if self.running:
            self._say(f"waiting for {', '.join(self.running)}; what is done is kept")

    def _show(self) -> None:
        done = self.total - len(self.waiting) - len(self.running)
        now = ", ".join(f"{name} ({clock(self._seconds(name))})" for name in self.running)
        guess = (
            "about" if all(self.expected[name] for name in [*self.waiting, *self.running]) else "more than"
        )
        text = f"[{done}/{self.total}] {guess} {clock(self.seconds_left())} left; running: {now}"
        if sys.stdout.isatty():
            columns = os.get_terminal_size().columns
            print(f"\r\033[K{text[: columns - 1]}", end="", flush=True)
        else:
            print(text, flush=True)

    def _say(self, text: str) -> None:
        print(f"\r\033[K{text}" if sys.stdout.isatty() else text, flush=True)


def clock(seconds: float) -> str:
    """H:MM:SS."""
    return str(timedelta(seconds=round(seconds)))


def wandb_group(output: Path) -> str:
    """What the study in `output` is called in Weights & Biases, unless the environment says otherwise."""
    return os.environ.get("WANDB_RUN_GROUP", output.absolute().name)


def _cores() -> int:
    """Those that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
