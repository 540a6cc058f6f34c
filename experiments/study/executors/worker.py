"""What a worker on another machine does with a job: the same as this machine, from a fresh Python."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from multiprocessing.process import BaseProcess
from pathlib import Path

from experiments.study.executors.base import Job, WorkerDied
from experiments.study.executors.local import GRACE, become, signal_group

POLL = 0.1
"""Seconds between two looks; an interruption is heard only in between."""

Work = tuple[str, tuple[str, ...], str, dict[str, str], str]
"""Command, arguments, log, environment and working folder: what is sent, in types that every pickle knows."""


def work(job: Job, environment: Mapping[str, str]) -> Work:
    """`job` as it travels. `environment` is that of all jobs; the job's own goes on top."""
    merged = {**environment, **job.environment}
    return job.command, tuple(job.arguments), str(job.log), merged, str(Path.cwd())


def carry_out(
    command: str, arguments: Sequence[str], log: str, environment: Mapping[str, str], folder: str
) -> int:
    """Run `python -m experiments.COMMAND ARGUMENTS` to its end, in a process group of its own.

    The process ends with this one, however this one ends; if an exception is raised here, politely.

    Args:
        folder: the study's working folder, which relative paths in configurations start from.

    Returns:
        Its exit code, -n after signal n.
    """
    os.chdir(folder)
    # The worker has threads of its engine's, which a fork would not survive.
    process = multiprocessing.get_context("spawn").Process(
        target=become, args=(command, arguments, log, environment)
    )
    process.start()
    try:
        while process.exitcode is None:
            process.join(POLL)
        return process.exitcode
    finally:
        _end(process)


def exit_code(code: int) -> int:
    """The shell's exit code, for that of `carry_out`.

    Raises:
        WorkerDied: nobody but a machine without memory, or its operator, sends SIGKILL.
    """
    if code == -signal.SIGKILL:
        raise WorkerDied("the process was killed, as when memory runs out")
    return code if code >= 0 else 128 - code


def settle(
    found: Future[int], result: Callable[[], int], failed: type[Exception], lost: type[Exception]
) -> None:
    """Tell `found` how a job has ended: with what `result`, which waits for `carry_out`, returns or raises.

    Args:
        failed: what the engine raises where `carry_out` itself has failed: it would again.
        lost: what it raises where the worker is gone. `failed` may be one kind of it.
    """
    try:
        found.set_result(exit_code(result()))
    except failed as error:
        found.set_exception(error)
    except lost as error:
        found.set_exception(WorkerDied(f"its worker is gone: {str(error).splitlines()[0]}"))
    except Exception as error:
        found.set_exception(error)


def _end(process: BaseProcess) -> None:
    """Kill what is left of the group, ranks that outlived the first one included."""
    if process.exitcode is None:
        signal_group(process, signal.SIGTERM)
        process.join(GRACE)
    signal_group(process, signal.SIGKILL)
    process.join()
