"""Runs stages as subprocesses, several at a time, and says what is going on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from experiments.stages import Stage, descendants
from experiments.workshop import Workshop

TAIL = 25  # lines of a failed stage's log that are shown
POLL = 0.2  # seconds
REPORT_EVERY = 60.0  # seconds between two summaries where the output is no terminal


@dataclass
class Running:
    """A stage in progress."""

    process: subprocess.Popen[bytes]
    start: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start


class Runner:
    """Runs the `missing` stages, at most `jobs` at a time, the longest chains first.

    After a failure nothing new is started, but what runs is waited for and kept.
    """

    def __init__(self, stages: Mapping[str, Stage], workshop: Workshop, jobs: int) -> None:
        self.stages, self.workshop, self.jobs = stages, workshop, jobs
        self.threads = max(1, len(os.sched_getaffinity(0)) // jobs)
        self.waiting: list[str] = []
        self.running: dict[str, Running] = {}
        self.failed: list[str] = []
        self.expected = {name: workshop.expected_seconds(stage) or 0.0 for name, stage in stages.items()}

    def run(self, missing: Iterable[str]) -> bool:
        """True if all of them are done at the end."""
        self.waiting = sorted(missing, key=self._chain, reverse=True)
        self.total = len(self.waiting)
        shown = 0.0
        try:
            while self.running or (self.waiting and not self.failed):
                self._start_ready()
                self._collect()
                if time.monotonic() - shown > (1.0 if sys.stdout.isatty() else REPORT_EVERY) and self.running:
                    shown = time.monotonic()
                    self._show()
                time.sleep(POLL)
        finally:
            self._stop()
        return not self.failed

    def seconds_left(self) -> float:
        """Time until all is done: that of the longest chain, or of the work shared by all jobs."""
        left = {name: self.expected[name] for name in self.waiting}
        for name, running in self.running.items():
            shown = self.workshop.seconds_left(name)
            left[name] = max(self.expected[name] - running.seconds, 0.0) if shown is None else shown
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
        config = self.workshop.write_config(stage)
        command = [sys.executable, "-m", f"experiments.{stage.command}", "--config", str(config)]
        if stage.command == "fit":
            command += ["--threads", str(self.threads)]
        environment = {"OMP_NUM_THREADS": str(self.threads), "TQDM_MININTERVAL": "5", "PYTHONUNBUFFERED": "1"}
        with self.workshop.log(stage.name).open("wb") as log:
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=os.environ | environment,
            )
        self.running[stage.name] = Running(process)
        self._say(f"start  {stage.name}")

    def _collect(self) -> None:
        for name, running in list(self.running.items()):
            code = running.process.poll()
            if code is None:
                continue
            del self.running[name]
            if code == 0:
                self.workshop.finish(self.stages[name], running.seconds)
                self._say(f"done   {name} in {clock(running.seconds)}")
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

    def _stop(self) -> None:
        """End what still runs, when the study itself is interrupted."""
        for running in self.running.values():
            running.process.terminate()
        for running in self.running.values():
            running.process.wait()

    def _show(self) -> None:
        done = self.total - len(self.waiting) - len(self.running)
        now = ", ".join(f"{name} ({clock(running.seconds)})" for name, running in self.running.items())
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
