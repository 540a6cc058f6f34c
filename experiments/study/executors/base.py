"""What a study asks of the engine under it, whether that is this machine, Ray or Slurm."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Needs:
    """What a stage occupies while it runs.

    Attributes:
        cpus: cores.
        gpus: whole GPUs; those that share one ask for 1 and are packed by the executor.
        memory: GiB, None where nobody knows.
    """

    cpus: int = 1
    gpus: int = 0
    memory: float | None = None


@dataclass(frozen=True)
class Job:
    """One run of `python -m experiments.COMMAND ARGUMENTS`.

    Attributes:
        name: of the stage.
        command: the module below `experiments`.
        arguments: of its command line.
        log: receives everything that is printed.
        environment: in addition to the study's own.
        needs: what it occupies.
    """

    name: str
    command: str
    arguments: tuple[str, ...]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: Needs = field(default_factory=Needs)


class WorkerDied(Exception):
    """The worker or its machine has ended before the job did: the job itself may be as good as ever."""


class Executor(Protocol):
    """Carries out jobs, each in a process of its own."""

    def accepts(self, job: Job) -> bool:
        """Whether there is room to begin `job` now. Engines with a queue of their own always say yes."""

    def submit(self, job: Job) -> Future[int]:
        """Begin `job`. The future holds its exit code (128 + n after signal n), or `WorkerDied`."""

    def stop(self) -> None:
        """End every job that still runs, politely at first, and then the engine. Idempotent."""
