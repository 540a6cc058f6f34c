"""Jobs on a Slurm cluster, through submitit: each one job of Slurm's."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future

import submitit
from submitit.core.utils import FailedJobError, UncompletedJobError

from experiments.study.executors.base import Job
from experiments.study.executors.local import GRACE
from experiments.study.executors.worker import carry_out, settle, work

POLL = 0.5
"""Seconds between two looks for a job's result; Slurm itself is asked once a minute."""
MINUTES = 24 * 60
"""A job's limit of time, unless SBATCH_TIMELIMIT says otherwise."""
# Lightning would take the job for one of several that srun has started, and refuse to start ranks itself.
LAUNCHED_BY_LIGHTNING = {"SLURM_JOB_NAME": "interactive"}


class SlurmExecutor:
    """Runs jobs through `sbatch`, one GPU or more for each that needs any.

    Every machine finds this checkout, its Python and the study's folders at the same paths as here.
    Partition, account and the like are sbatch's own: SBATCH_PARTITION, SBATCH_ACCOUNT, SBATCH_TIMELIMIT, ...

    Args:
        environment: of all jobs, in addition to this process's own.
        cluster: submitit's name of it; "local" plays one on this machine.

    Raises:
        ValueError: there is no `sbatch` here.
    """

    def __init__(self, environment: Mapping[str, str], cluster: str = "slurm") -> None:
        if cluster == "slurm" and shutil.which("sbatch") is None:
            raise ValueError("--executor slurm needs sbatch: run the study on a login node of the cluster")
        self.environment = {**environment, **LAUNCHED_BY_LIGHTNING}
        self.cluster = cluster
        self._running: dict[Future[int], submitit.Job[int]] = {}

    def accepts(self, job: Job) -> bool:
        """Always: Slurm has a queue."""
        return True

    def submit(self, job: Job) -> Future[int]:
        """Queue `job`; what Slurm and submitit write of it is in `slurm/` beside its log."""
        needs = job.needs
        engine = submitit.AutoExecutor(job.log.parent / "slurm", self.cluster, slurm_max_num_timeout=0)
        engine.update_parameters(
            name=job.name,
            timeout_min=MINUTES,
            nodes=1,
            tasks_per_node=1,
            cpus_per_task=needs.cpus,
            gpus_per_node=needs.gpus or None,
            mem_gb=needs.memory,
        )
        queued = engine.submit(carry_out, *work(job, self.environment))
        found: Future[int] = Future()
        self._running[found] = queued
        threading.Thread(target=self._watch, args=(queued, found), daemon=True).start()
        return found

    def stop(self) -> None:
        """Cancel what is queued or still runs; Slurm sends SIGTERM, and SIGKILL after its KillWait."""
        for queued in list(self._running.values()):
            queued.cancel(check=False)
        end = time.monotonic() + 2 * GRACE
        while self._running and time.monotonic() < end:  # Slurm ends them anyway
            time.sleep(POLL)

    def _watch(self, queued: submitit.Job[int], found: Future[int]) -> None:
        def result() -> int:
            while not queued.done():
                time.sleep(POLL)
            return queued.result()

        settle(found, result, FailedJobError, UncompletedJobError)
        self._running.pop(found, None)
