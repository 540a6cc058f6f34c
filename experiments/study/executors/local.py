"""Jobs on this machine: each a process that is forked from a server which has imported everything once.

Importing torch takes longer than many a job. The server is the standard library's: it computes nothing
itself, so that it has neither threads nor a GPU when it forks.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from experiments.study.executors.base import Job, WorkerDied
from facecrafter.files import for_owner_alone

GRACE = 10.0
"""Seconds in which a job may tidy up before it is killed."""
TRIES = 3
"""Of starting a job's process."""
AGAIN = 0.5
"""Seconds after which a server that has just died is known to be dead."""
FORK_IS_SAFE = sys.platform != "darwin"
"""Where it is not, every job imports everything anew."""
SERVER_DIED = 255
"""What multiprocessing calls the exit code of a process whose server is gone."""


class LocalExecutor:
    """Runs jobs on this machine, at most `jobs` at a time, those that need a GPU in one of its slots.

    Args:
        jobs: at the same time.
        environment: of all jobs, in addition to this process's own; each has its own on top.
        commands: modules to import once for all of them.
        gpus: names of the GPUs as CUDA_VISIBLE_DEVICES has them; default: those that this process may use.
        jobs_per_gpu: jobs that share a GPU.
    """

    def __init__(
        self,
        jobs: int,
        environment: Mapping[str, str],
        commands: Iterable[str] = (),
        gpus: Sequence[str] | None = None,
        jobs_per_gpu: int = 1,
    ) -> None:
        self.jobs, self.environment = jobs, dict(environment)
        self.gpus = visible_gpus() if gpus is None else list(gpus)
        self.jobs_per_gpu = jobs_per_gpu
        self._running: dict[str, BaseProcess] = {}
        self._held: dict[str, list[str]] = {}  # GPUs of each running job
        self._lock = threading.Lock()
        self._polling = threading.Lock()
        self._context = multiprocessing.get_context("forkserver" if FORK_IS_SAFE else "spawn")
        if FORK_IS_SAFE:
            self._start_server(sorted(commands))

    def accepts(self, job: Job) -> bool:
        """Whether a process and the GPUs that `job` needs are free."""
        return len(self._running) < self.jobs and self._free(job) is not None

    def submit(self, job: Job) -> Future[int]:
        """Begin `job` in a process group of its own.

        Raises:
            ValueError: it needs more GPUs than there are, so it would wait for ever.
        """
        if self.gpus and job.needs.gpus > len(self.gpus):
            raise ValueError(f"{job.name} needs {job.needs.gpus} GPUs, but there are {len(self.gpus)}")
        held = self._free(job) or []
        shown = {"CUDA_VISIBLE_DEVICES": ",".join(held)} if held else {}
        environment = self.environment | shown | dict(job.environment)
        process = self._started(job, environment)
        with self._lock:
            self._running[job.name], self._held[job.name] = process, held
        found: Future[int] = Future()
        threading.Thread(target=self._watch, args=(job.name, process, found), daemon=True).start()
        return found

    def stop(self) -> None:
        """End what still runs: a job that does not hear SIGTERM within GRACE seconds is killed."""
        with self._lock:
            left = list(self._running.values())
        for process in left:
            signal_group(process, signal.SIGTERM)
            process.terminate()  # one that does not lead its group yet
        end = time.monotonic() + GRACE
        for process in left:
            wait([process.sentinel], max(0.0, end - time.monotonic()))
            signal_group(process, signal.SIGKILL)
            process.kill()
        for process in left:
            process.join()

    def _started(self, job: Job, environment: Mapping[str, str]) -> BaseProcess:
        """A process for `job`. A server that is killed in this very moment is missed by whoever asks it for
        one; who asks again has another server."""
        for _ in range(TRIES - 1):
            with suppress(EOFError, ConnectionError):
                return self._start(job, environment)
            time.sleep(AGAIN)
        return self._start(job, environment)

    def _start(self, job: Job, environment: Mapping[str, str]) -> BaseProcess:
        process = self._context.Process(
            target=become, args=(job.command, job.arguments, str(job.log), environment), name=job.name
        )
        # `start` asks all children whether they have ended; of two threads that ask at once one gets the exit
        # code and the other takes the process for one whose server has died.
        with self._polling:
            process.start()
        return process

    def _start_server(self, commands: list[str]) -> None:
        """Start the server with this environment: OpenMP counts its threads when it is imported."""
        before = dict(os.environ)
        os.environ.update(self.environment)
        try:
            self._context.set_forkserver_preload(commands)
            forkserver.ensure_running()
        finally:
            os.environ.clear()
            os.environ.update(before)

    def _free(self, job: Job) -> list[str] | None:
        """GPUs for `job`, the least busy first; None if it has to wait. Without any, it needs none."""
        if not (self.gpus and job.needs.gpus):
            return []
        # Who shares a GPU takes a slot of it; who needs several takes all slots of each.
        with self._lock:
            busy = Counter(
                gpu
                for held in self._held.values()
                for gpu in held
                for _ in range(self.jobs_per_gpu if len(held) > 1 else 1)
            )
        room = self.jobs_per_gpu if job.needs.gpus == 1 else 1
        free = sorted((gpu for gpu in self.gpus if busy[gpu] < room), key=busy.__getitem__)
        return free[: job.needs.gpus] if len(free) >= job.needs.gpus else None

    def _watch(self, name: str, process: BaseProcess, found: Future[int]) -> None:
        """Tell how the job has ended, when it has; a rank that outlived the others is killed."""
        wait([process.sentinel])
        with self._polling:
            process.join()
        code = process.exitcode or 0
        signal_group(process, signal.SIGKILL)
        with self._lock:
            del self._running[name], self._held[name]
        if code == -signal.SIGKILL:
            found.set_exception(WorkerDied("the process was killed, as when memory runs out"))
        elif code == SERVER_DIED:
            found.set_exception(WorkerDied("the process, or the server that it came from, has died"))
        else:
            found.set_result(code if code >= 0 else 128 - code)


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES has for them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip() not in ("", "-1")]
    import torch  # a second's work, which a process that only submits can do without

    return [str(number) for number in range(torch.cuda.device_count())]


@for_owner_alone()
def become(command: str, arguments: Sequence[str], log: str, environment: Mapping[str, str]) -> None:
    """Become `python -m experiments.COMMAND ARGUMENTS`, in a process group of its own."""
    os.setpgid(0, 0)  # the terminal's Ctrl-C is for the study, which then calls `stop`
    threading.Thread(target=_die_with_parent, daemon=True).start()
    os.environ.update(environment)
    with open(log, "wb") as file:  # noqa: PTH123  # nothing is imported before its output is seen
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    module = f"experiments.{command}"
    sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]
    _use_threads()
    sys.argv[1:] = arguments
    sys.modules.pop(module, None)  # it is run as __main__, from which Lightning starts further ranks
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves them out, and W&B ends its run in one


def _use_threads() -> None:
    """As many as the environment says now; the server may have been started for another study."""
    if (torch := sys.modules.get("torch")) and (threads := os.environ.get("OMP_NUM_THREADS")):
        torch.set_num_threads(int(threads))


def _die_with_parent() -> None:
    """Left behind, a job would work against the next run's on the same files."""
    if parent := multiprocessing.parent_process():
        wait([parent.sentinel])
        os.killpg(0, signal.SIGKILL)


def signal_group(process: BaseProcess, number: signal.Signals) -> None:
    """Send a signal to what is left of the process group that a job leads."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)  # type: ignore[arg-type]  # it has been started
