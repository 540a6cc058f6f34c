"""Engines that carry out a study's stages, all behind `base.Executor`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from experiments.study.executors.base import Executor
from experiments.study.executors.local import LocalExecutor

NAMES = ("local", "ray", "slurm")


def make(
    name: str, jobs: int, jobs_per_gpu: int, environment: Mapping[str, str], commands: Iterable[str]
) -> Executor:
    """The engine called `name`.

    Args:
        jobs: at the same time; engines with a queue of their own are given no more.
        jobs_per_gpu: jobs that share a GPU.
        environment: of all jobs, in addition to this process's own.
        commands: modules that the jobs will run.

    Raises:
        ValueError: its packages are not installed.
    """
    if name == "local":
        return LocalExecutor(jobs, environment, commands, jobs_per_gpu=jobs_per_gpu)
    try:
        if name == "ray":
            from experiments.study.executors.ray import RayExecutor

            return RayExecutor(environment, jobs_per_gpu)
        from experiments.study.executors.slurm import SlurmExecutor

        return SlurmExecutor(environment)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"--executor {name} needs {error.name}: pip install 'facecrafter[{name}]'"
        ) from error
