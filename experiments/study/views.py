"""How a study shows what is going on: as lines, or on a terminal as a status that is written over."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text


@dataclass(frozen=True)
class Running:
    """A stage that runs: for how long, and how long it will."""

    name: str
    seconds: float
    left: float


@dataclass(frozen=True)
class Progress:
    """How far a study is.

    Attributes:
        done, failed, total: numbers of stages; those not run because of a failure count as failed.
        running, waiting: the others.
        left: seconds until all is done.
        is_least: whether stages of unknown length are not counted in `left`.
    """

    done: int
    failed: int
    total: int
    running: Sequence[Running]
    waiting: Sequence[str]
    left: float
    is_least: bool

    def line(self) -> str:
        """All of it in a line."""
        now = ", ".join(f"{stage.name} ({clock(stage.seconds)})" for stage in self.running)
        guess = "more than" if self.is_least else "about"
        failed = f"{self.failed} failed; " if self.failed else ""
        return f"[{self.done}/{self.total}] {failed}{guess} {clock(self.left)} left; running: {now}"


class View(Protocol):
    """Where a Runner says what happens.

    Attributes:
        every: seconds between two calls of `show`.
    """

    every: float

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def say(self, text: str) -> None:
        """Something has happened."""

    def show(self, progress: Progress) -> None:
        """This is how far the study is."""


class Lines:
    """A line for everything that happens, and every minute one that sums up."""

    every = 60.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, text: str) -> None:
        print(text, flush=True)

    def show(self, progress: Progress) -> None:
        print(progress.line(), flush=True)


class Counted(Lines):
    """Every minute how many are done, and nothing of what happens.

    Args:
        what: stands before the numbers.
    """

    def __init__(self, what: str) -> None:
        self.what = what

    def say(self, text: str) -> None:
        pass

    def show(self, progress: Progress) -> None:
        print(f"{self.what}: {progress.done} of {progress.total}", flush=True)


class Status(Lines):
    """On a terminal: what happens goes by above one line that is written over every second."""

    every = 1.0

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self.live = Live(console=self.console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def show(self, progress: Progress) -> None:
        self.live.update(Text(progress.line(), no_wrap=True, overflow="ellipsis"), refresh=True)


def plain_view() -> View:
    """The view where none is asked for: what the output can show."""
    return Status() if sys.stdout.isatty() else Lines()


def clock(seconds: float) -> str:
    """H:MM:SS."""
    return str(timedelta(seconds=round(seconds)))
