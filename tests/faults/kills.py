"""Kills at random moments: what is started again ends with the numbers of a run that nobody killed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from faults.subjects import Numbers, fits, numbers, start_study

PATIENCE = 900.0  # seconds


class Process:
    """A forked copy of this process, which has imported everything, that does one thing."""

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

    def says(self, text: str) -> None:
        """Wait until it has printed `text`, or ended."""
        while text not in self.log.read_text(errors="replace") and not self.ends_within(0.02):
            pass

    def kill(self) -> None:
        """As the system does when memory runs out."""
        os.kill(self.pid, signal.SIGKILL)
        self.ends_within(PATIENCE)


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


def of_fits(folder: Path, kills: int, seed: int) -> Iterator[str]:
    """Kill fits until `kills` of them have been, each life from the target network to Crafter's features.

    Yields:
        What is wrong with each life: '' if no number differs from the unbroken one.
    """
    rng, unbroken, spans = random.Random(seed), folder / "unbroken", {}
    unbroken.mkdir(parents=True)
    for name, start in fits(unbroken).items():
        began, process = time.monotonic(), Process(start, folder / "log")
        assert process.ends_within(PATIENCE), process.log.read_text()
        assert process.code == 0, process.log.read_text()
        spans[name] = time.monotonic() - began
    expected, done, life = numbers(unbroken), 0, folder / "life"
    while done < kills:
        shutil.rmtree(life, ignore_errors=True)
        life.mkdir()
        for name, start in fits(life).items():
            while True:
                process = Process(start, folder / "log")
                if process.ends_within(rng.uniform(0, spans[name]) if done < kills else PATIENCE):
                    break
                process.kill()
                done += 1
            if process.code != 0:
                yield f"{name}: {process.log.read_text()[-2000:]}"
                break
        else:
            yield difference(expected, numbers(life))
        print(f"{done} of {kills} kills of fits", flush=True)


def of_studies(folder: Path, kills: int, seed: int) -> Iterator[str]:
    """Kill a study, three times out of four itself and else a process below it, as `of_fits` does fits."""
    rng = random.Random(seed)
    (folder / "unbroken").mkdir(parents=True)
    process = Process(lambda: start_study(folder / "unbroken"), folder / "log")
    process.says("start ")
    began = time.monotonic()
    assert process.ends_within(PATIENCE), process.log.read_text()
    assert process.code == 0, process.log.read_text()
    span, expected, done, life = time.monotonic() - began, numbers(folder / "unbroken"), 0, folder / "life"
    while done < kills:
        shutil.rmtree(life, ignore_errors=True)
        life.mkdir()
        while True:
            process = Process(lambda: start_study(life), folder / "log")
            if done >= kills:
                process.ends_within(PATIENCE)
            process.says("start ")
            if process.ends_within(rng.uniform(0, 0.3 * span)):
                break
            others = below(process.pid)
            if others and rng.random() < 0.25:
                with suppress(ProcessLookupError):
                    os.kill(rng.choice(others), signal.SIGKILL)
                if process.ends_within(rng.uniform(0, 0.3 * span)):
                    done += 1
                    if process.code:
                        continue  # it was the server of all jobs, say: the study ends, and is started again
                    break
            process.kill()
            done += 1
        if process.code != 0:
            yield process.log.read_text()[-2000:]
        else:
            yield difference(expected, numbers(life))
        print(f"{done} of {kills} kills of studies", flush=True)


def difference(expected: Numbers, found: Numbers) -> str:
    """Where two runs' numbers differ; '' if nowhere."""
    names = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    return f"{len(names)} differ: {', '.join(names[:5])}" if names else ""
