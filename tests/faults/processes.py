"""Processes to be killed: forked copies of this one, which has imported everything."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from experiments.report.__main__ import main as write_report
from experiments.study import carry_out
from experiments.study.executors.local import LocalExecutor

PATIENCE = 900.0  # seconds
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "shutil.rmtree"}
COMMANDS = ("attack", "average", "combine", "measure", "protect", "study.data")
KILLED = (-signal.SIGKILL, -signal.SIGALRM, 256 - signal.SIGALRM)
"""Ways to end that no program hears of; the last one is a study's whose report ended so."""
KILLED_JOB = re.compile(rf"^FAILED .*\(exit code {128 + signal.SIGALRM}\)", re.MULTILINE)
"""What a study says of a job that ended so by its own alarm."""


def import_everything() -> None:
    """What commands import, so that copies of this process need not: it takes longer than a small fit."""
    import wandb.sdk  # noqa: F401

    for command in COMMANDS:
        import_module(f"experiments.{command}")


class Changes:
    """Counts what a process is about to do to files in a folder, and may end it during one of these.

    Args:
        folder: the changes outside do not count.
        last: the process ends at this change, not one that it forks.
        delay: seconds after the change begins.
    """

    def __init__(self, folder: Path, last: int = 0, delay: float = 0.0) -> None:
        self.folder, self.last, self.delay = str(folder), last, delay
        self.count = 0

    def watch(self) -> None:
        """Begin, in this process and those forked from it, until they end."""
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if event not in CHANGES and not (event == "open" and _writes(*args[1:3])):
            return
        if not str(args[0]).startswith(self.folder):
            return
        self.count += 1
        if self.count == self.last:
            # Nothing handles this signal: the system ends the process, in the middle of a write if need be.
            signal.setitimer(signal.ITIMER_REAL, max(self.delay, 1e-6))


def _writes(mode: str | None, flags: int) -> bool:
    return bool(set(mode or "") & set("wax+")) or bool(flags & (os.O_WRONLY | os.O_RDWR))


class Process:
    """A forked copy of this process that does one thing.

    Args:
        work: the thing.
        log: file that receives what it prints.
    """

    def __init__(self, work: Callable[[], None], log: Path) -> None:
        self.log, self.code = log, None
        log.write_bytes(b"")
        self.pid = os.fork()
        if self.pid == 0:
            self._become(work)

    def _become(self, work: Callable[[], None]) -> None:
        code = 1
        try:
            with self.log.open("ab") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            work()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
            if isinstance(stop.code, str):
                os.write(2, stop.code.encode())
        except BaseException as error:
            os.write(2, repr(error).encode())
        finally:
            sys.stdout.flush()
            os._exit(code)

    def ends_within(self, seconds: float) -> bool:
        """Wait until it has ended, but no longer than this."""
        end = time.monotonic() + seconds
        while self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > end:
                return False
            else:
                time.sleep(0.005)
        return True

    def kill(self) -> None:
        """As the system does when memory runs out."""
        os.kill(self.pid, signal.SIGKILL)
        self.ends_within(PATIENCE)

    def said(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")


class Forks(LocalExecutor):
    """Forks jobs from the study itself: a server would have to import everything anew for every try."""

    def __init__(self, jobs: int, environment: Mapping[str, str], commands: Iterable[str] = ()) -> None:
        super().__init__(jobs, environment, commands)
        self._context = get_context("fork")

    def _start_server(self, commands: list[str]) -> None:
        """There is none."""


def fork_jobs() -> None:
    """Have the studies of this process run their jobs so, and the report."""

    def report(output: Path) -> int:
        process = get_context("fork").Process(target=write_report, args=(["--study", str(output)],))
        process.start()
        process.join()
        return process.exitcode or 0

    carry_out.make = lambda name, jobs, per_gpu, environment, commands: Forks(jobs, environment, commands)
    carry_out.report = report


def below(pid: int) -> list[int]:
    """The processes that this one started, and those that they did."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, IndexError, ValueError):
            parents.setdefault(int(path.read_text().rpartition(")")[2].split()[1]), []).append(
                int(path.parent.name)
            )
    found, waiting = [], [pid]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found
