"""Kills at random moments: what is started again ends with the numbers of a run that nobody killed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from every_module import fit_inputs

from faults.processes import (
    KILLED,
    KILLED_JOB,
    PATIENCE,
    Changes,
    Process,
    below,
    fork_jobs,
    import_everything,
)
from faults.subjects import Numbers, fits, numbers, start_study

IN_WRITES = 0.5
"""Part of the kills that come while a file is changed; the others come at any time."""
DELAY = 0.003  # seconds after a change began, at most
OF_JOBS = 0.25
"""Part of the kills at any time that end a process below the subject, where there is one."""

BUSY = "another study is running"
"""What is said while a job that was forked from a killed study, and so holds its lock, has yet to end."""

Start = Callable[[Path], None]
"""Begins something in a folder, or goes on with it there."""


@dataclass
class Unbroken:
    """What a run left that nobody killed.

    Attributes:
        seconds, changes: it took, and made to files.
    """

    start: Start
    numbers: Numbers
    seconds: float
    changes: int


@dataclass
class Life:
    """One run to the end.

    Attributes:
        kills: before it came there.
        wrong: '' if it left the numbers of the unbroken one.
    """

    kills: int
    wrong: str


@dataclass
class Killer:
    """Kills runs, and starts them again until they are done.

    Attributes:
        folder: for runs; each is deleted before the next one.
        rng: of all moments.
        longest: part of a run's time, and of its changes, that a kill comes after at most.
    """

    folder: Path
    rng: random.Random
    longest: float = 1.0
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.folder / "log"

    def unbroken(self, start: Start) -> Unbroken:
        """A run that nobody kills."""
        place, count = self._empty(), self.folder / "changes"

        def counted() -> None:
            changes = Changes(place)
            changes.watch()
            try:
                start(place)
            finally:
                count.write_text(str(changes.count))

        began, process = time.monotonic(), Process(counted, self.log)
        assert process.ends_within(PATIENCE), process.said()
        assert process.code == 0, process.said()
        return Unbroken(start, numbers(place), time.monotonic() - began, int(count.read_text()))

    def life(self, of: Unbroken, most: int) -> Life:
        """Start the thing and kill it again and again, at most so often."""
        place, kills = self._empty(), 0
        while True:
            ended, killed = self._try(of, place, spared=kills >= most)
            kills += killed
            if ended is not None and BUSY not in ended.said():
                break
        if ended.code != 0:
            return Life(kills, f"exit code {ended.code}: {ended.said()[-2000:]}")
        return Life(kills, difference(of.numbers, numbers(place)))

    def _try(self, of: Unbroken, place: Path, spared: bool) -> tuple[Process | None, int]:
        """The process if it came to an end of its own, and how often it, or one below it, was killed."""
        if spared:
            process = Process(partial(of.start, place), self.log)
            process.ends_within(PATIENCE)
            return process, 0
        if self.rng.random() < IN_WRITES:
            last = self.rng.randint(1, max(1, round(self.longest * of.changes)))
            changes = Changes(place, last, self.rng.uniform(0, DELAY))

            def dies() -> None:
                changes.watch()
                of.start(place)

            process = Process(dies, self.log)
            process.ends_within(PATIENCE)
            jobs = len(KILLED_JOB.findall(process.said()))
            killed = process.code in KILLED
            return (None, jobs + 1) if killed else (None, jobs) if jobs else (process, 0)
        process = Process(partial(of.start, place), self.log)
        if process.ends_within(self.rng.uniform(0, self.longest * of.seconds)):
            return process, 0
        jobs = below(process.pid)
        if not jobs or self.rng.random() > OF_JOBS:
            process.kill()
            return None, 1
        with suppress(ProcessLookupError):
            os.kill(self.rng.choice(jobs), signal.SIGKILL)
        process.ends_within(PATIENCE)
        # Where it was the report's, say, the study ends with an error, and is started again.
        return (process, 1) if process.code == 0 else (None, 1)

    def _empty(self) -> Path:
        place = self.folder / "life"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        return place


def of_fits(folder: Path, kills: int, seed: int) -> Iterator[Life]:
    """Kill fits, one kind after the other and again, until `kills` of them have been."""
    import_everything()
    inputs, killer = folder / "inputs", Killer(folder, random.Random(seed))
    inputs.mkdir(parents=True)
    fitted = Process(lambda: fit_inputs(inputs) and None, folder / "log")
    assert fitted.ends_within(PATIENCE), fitted.said()
    assert fitted.code == 0, fitted.said()
    starts, known, done = fits(inputs), dict[str, Unbroken](), 0
    while done < kills:
        for name, start in starts.items():
            if name not in known:
                known[name] = killer.unbroken(start)
            life = killer.life(known[name], kills - done)
            done += life.kills
            print(f"{done} of {kills} kills of fits: {name}, {life.kills}", flush=True)
            yield Life(life.kills, life.wrong and f"{name}: {life.wrong}")
            if done >= kills:
                return


def of_studies(folder: Path, kills: int, seed: int) -> Iterator[Life]:
    """The same to a small study."""
    import_everything()
    killer, done = Killer(folder, random.Random(seed), longest=0.3), 0

    def start(place: Path) -> None:
        fork_jobs()
        start_study(place)

    unbroken = killer.unbroken(start)
    while done < kills:
        life = killer.life(unbroken, kills - done)
        done += life.kills
        print(f"{done} of {kills} kills of studies: {life.kills}", flush=True)
        yield life


def difference(expected: Numbers, found: Numbers) -> str:
    """Where two runs' numbers differ; '' if nowhere."""
    names = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    return f"{len(names)} differ: {', '.join(names[:5])}" if names else ""
