"""Jobs on a Ray cluster: each one task, placed where the cores and GPUs that it needs are free."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray is imported

import ray
from ray.exceptions import RayError, RayTaskError

from experiments.study.executors.base import Job
from experiments.study.executors.local import GRACE
from experiments.study.executors.worker import carry_out, settle, work

GIB = 2**30


class RayExecutor:
    """Runs jobs on the cluster at RAY_ADDRESS, else on one started on this machine, else on its own.

    Every machine finds this checkout, its Python and the study's folders at the same paths as here.

    Args:
        environment: of all jobs, in addition to the workers'.
        jobs_per_gpu: jobs that share a GPU.
        **init: for `ray.init`, where no connection is open yet.
    """

    def __init__(self, environment: Mapping[str, str], jobs_per_gpu: int = 1, **init: Any) -> None:
        self.environment, self.jobs_per_gpu = dict(environment), jobs_per_gpu
        self._mine = not ray.is_initialized()
        if self._mine:
            _connect(init)
        self._task = ray.remote(carry_out)
        self._running: dict[Future[int], ray.ObjectRef] = {}

    def accepts(self, job: Job) -> bool:
        """Always: Ray has a queue. What no machine will ever have waits there, and Ray says so."""
        return True

    def submit(self, job: Job) -> Future[int]:
        """Queue `job` as a task that Ray itself does not try again."""
        needs = job.needs
        options: dict[str, Any] = {"num_cpus": needs.cpus, "num_gpus": self._gpus(needs.gpus)}
        if needs.memory is not None:
            options["memory"] = int(needs.memory * GIB)
        task = self._task.options(name=job.name, max_retries=0, **options)
        reference = task.remote(*work(job, self.environment))
        found: Future[int] = Future()
        self._running[found] = reference
        threading.Thread(target=self._watch, args=(reference, found), daemon=True).start()
        return found

    def stop(self) -> None:
        """Interrupt what still runs, wait until it has tidied up, and leave the cluster."""
        left = list(self._running.values())
        for reference in left:
            ray.cancel(reference)
        if left:
            _, deaf = ray.wait(left, num_returns=len(left), timeout=2 * GRACE, fetch_local=False)
            for reference in deaf:
                ray.cancel(reference, force=True)
        if self._mine:
            ray.shutdown()
            self._mine = False

    def _gpus(self, needed: int) -> float:
        """One of a GPU's slots, or several whole GPUs."""
        return needed / self.jobs_per_gpu if needed == 1 else needed

    def _watch(self, reference: ray.ObjectRef, found: Future[int]) -> None:
        settle(found, lambda: ray.get(reference), RayTaskError, RayError)
        self._running.pop(found, None)


def _connect(init: Mapping[str, Any]) -> None:
    """Connect to a cluster, or start one; Ray takes SIGTERM for itself, which is the study's."""
    handler = signal.getsignal(signal.SIGTERM)
    paths = {"PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
    defaults = {"log_to_driver": False, "logging_level": "WARNING", "runtime_env": {"env_vars": paths}}
    ray.init(**{**defaults, **init})
    with suppress(ValueError):  # signals belong to the main thread
        signal.signal(signal.SIGTERM, handler)
