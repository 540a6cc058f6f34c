"""Engines for clusters, each played on this machine: what becomes of a job, however it ends."""

from __future__ import annotations

import csv
import functools
import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_study
from safetensors.numpy import load_file, save

import experiments
from experiments.study import carry_out
from experiments.study.executors import make
from experiments.study.executors.base import Executor, Job, Needs, WorkerDied
from experiments.study.executors.local import LocalExecutor, visible_gpus

REPOSITORY = Path(__file__).parents[2]
EXTERNAL = REPOSITORY / "tests" / "external_defences"
# Beside the real modules, one command that ends as its argument says and imports nothing slow.
PACKAGE = f"__path__.append({experiments.__path__[0]!r})\n"
COMMAND = """
import os, signal, sys, time
from pathlib import Path

def tidy_up(*_):
    Path("tidy").touch()
    os._exit(0)

if __name__ == "__main__":
    print("out", os.environ["OMP_NUM_THREADS"], os.environ["WANDB_NAME"], flush=True)
    os.system("echo child")
    how = sys.argv[1]
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "term":
        os.kill(os.getpid(), signal.SIGTERM)
    if how == "sleep":
        signal.signal(signal.SIGTERM, tidy_up)
        Path("started").touch()
        time.sleep(600)
    sys.exit(int(how))
"""
SMALL = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 80 * 2**20}
"""A cluster of Ray's on this machine."""


def ray_engine() -> Executor:
    from experiments.study.executors.ray import RayExecutor

    return RayExecutor({"OMP_NUM_THREADS": "3"}, address="local", **SMALL)


def slurm_engine() -> Executor:
    from experiments.study.executors.slurm import SlurmExecutor

    return SlurmExecutor({"OMP_NUM_THREADS": "3"}, cluster="local")


def engine_of(package: str, made: Callable[[], Executor]) -> object:
    missing = importlib.util.find_spec(package) is None
    return pytest.param(made, id=package, marks=pytest.mark.skipif(missing, reason=f"{package} is missing"))


@pytest.fixture(scope="module", params=[engine_of("ray", ray_engine), engine_of("submitit", slurm_engine)])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    """One of either kind for all tests, as a cluster takes long to start; the last of them stops it."""
    folder = tmp_path_factory.mktemp("engine")
    package = folder / "experiments"
    package.mkdir()
    (package / "__init__.py").write_text(PACKAGE)
    (package / "end.py").write_text(COMMAND)
    path = [str(folder), str(REPOSITORY), str(REPOSITORY / "src")]
    # Where the tests run in a shell's background, Ctrl-C is ignored, by whatever they start as well.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", path + sys.path)
        patch.setenv("PYTHONPATH", os.pathsep.join(path))
        patch.chdir(folder)  # Ray's workers import from where it was started first of all
        executor = request.param()
        yield executor
        executor.stop()
    signal.signal(signal.SIGINT, before)


def job(folder: Path, how: str) -> Job:
    (folder / how).mkdir()
    return Job(how, "end", (how,), folder / how / "job.log", {"WANDB_NAME": "mine"}, Needs())


def test_jobs_end_as_their_processes_do_and_their_output_is_in_their_logs(
    engine: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    jobs = [job(tmp_path, how) for how in ("0", "7", "term", "kill")]
    futures = [engine.submit(each) for each in jobs]
    assert [future.result(120) for future in futures[:3]] == [0, 7, 143]
    with pytest.raises(WorkerDied, match="memory"):
        futures[3].result(120)
    for each in jobs:
        assert each.log.read_text().splitlines() == ["out 3 mine", "child"]


def test_stop_lets_jobs_tidy_up(engine: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    future = engine.submit(job(tmp_path, "sleep"))
    end = time.monotonic() + 180
    while not (tmp_path / "started").exists():
        assert not future.done(), future
        assert time.monotonic() < end, "the job has not started"
        time.sleep(0.05)
    engine.stop()
    assert (tmp_path / "tidy").exists()


@pytest.mark.parametrize(
    ("running", "needed", "given"),
    [
        ([], 1, ["4"]),
        ([["4"]], 1, ["7"]),  # the idle one first
        ([["4"], ["7"]], 1, ["4"]),
        ([["4"], ["7"], ["4"], ["7"]], 1, None),
        ([], 2, ["4", "7"]),
        ([["4"]], 2, None),  # whole ones only
        ([["4", "7"]], 1, None),  # and nobody else on them
        ([["4"], ["7"], ["4"], ["7"]], 0, []),
    ],
)
def test_on_this_machine_two_jobs_share_a_gpu_and_one_that_needs_several_has_them_alone(
    running: list[list[str]], needed: int, given: list[str] | None
) -> None:
    executor = LocalExecutor.__new__(LocalExecutor)
    executor.gpus, executor.jobs_per_gpu, executor._lock = ["4", "7"], 2, threading.Lock()
    executor._held = {str(number): held for number, held in enumerate(running)}
    assert executor._free(Job("job", "end", (), Path("log"), {}, Needs(gpus=needed))) == given


def test_the_study_keeps_to_the_gpus_that_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-8932f937")
    assert visible_gpus() == ["3", "GPU-8932f937"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []


def test_one_of_several_on_a_gpu_asks_for_its_share_and_one_that_needs_several_for_whole_ones() -> None:
    ray = pytest.importorskip("experiments.study.executors.ray", reason="ray is missing")
    executor = ray.RayExecutor.__new__(ray.RayExecutor)
    executor.jobs_per_gpu = 4
    assert [executor._gpus(needed) for needed in (0, 1, 2)] == [0, 0.25, 2]


@pytest.mark.parametrize(("name", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_an_engine_that_is_not_installed_says_how_to_get_it(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, f"experiments.study.executors.{name}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf"pip install 'facecrafter\[{name}\]'"):
        make(name, 1, 1, {}, [])


MADE_BY = {"ray": ["target", "none.guess"], "slurm": ["data", "none", "none.guess.measure"]}
"""Stages of the study below, one of each command, by the engine that carries them out."""


@pytest.mark.slow
def test_a_study_has_the_same_keys_and_content_whoever_carries_it_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ray = pytest.importorskip("experiments.study.executors.ray", reason="ray is missing")
    slurm = pytest.importorskip("experiments.study.executors.slurm", reason="submitit is missing")
    monkeypatch.setattr(ray, "RayExecutor", functools.partial(ray.RayExecutor, address="local", **SMALL))
    monkeypatch.setattr(slurm, "SlurmExecutor", functools.partial(slurm.SlurmExecutor, cluster="local"))
    monkeypatch.syspath_prepend(EXTERNAL)
    monkeypatch.setenv("PYTHONPATH", str(EXTERNAL), prepend=os.pathsep)
    config = tiny_study.write(tiny_study.guessing(), tmp_path / "study.yaml")
    local = tmp_path / "local"
    assert carry_out.run(config, local, jobs=1, try_first=False) == 0
    capsys.readouterr()
    # A worker imports everything anew for every stage, so each engine makes some, and finds the others there.
    for executor, made in MADE_BY.items():
        shutil.copytree(local, tmp_path / executor)
        for stage in made:
            (folder,) = (tmp_path / executor / "artifacts").glob(f"{stage}-*")
            shutil.rmtree(folder)
        assert carry_out.run(config, tmp_path / executor, jobs=1, executor=executor, try_first=False) == 0
        assert re.findall("^start  (.*)$", capsys.readouterr().out, re.MULTILINE) == made
        assert content(tmp_path / executor) == content(local)


TIMED = {"seconds", "megabytes", "finished", "files", "sha256"}
"""What a run costs, when and where it was, and the checksums of files that say so."""


def content(study: Path) -> dict[str, Any]:
    """Networks, features, images, splits and figures of every stage by their paths, which say its key."""
    found: dict[str, Any] = {}
    for path in study.glob("artifacts/*/**/*"):
        name = str(path.relative_to(study))
        if path.suffix == ".safetensors":
            arrays = {key: array for key, array in load_file(path).items() if key not in TIMED}
            found[name] = hashlib.sha256(save(arrays)).hexdigest()
        elif path.name in ("stage.json", "results.json"):
            found[name] = json.loads(path.read_text(), object_hook=untimed)
        elif path.suffix == ".csv" and "logs" not in path.parts:
            found[name] = path.read_text()
    with (study / "results.csv").open() as file:
        found["results.csv"] = [untimed(row) for row in csv.DictReader(file)]
    kinds = {Path(name).name for name in found} | {Path(name).parent.name for name in found}
    assert kinds >= {"weights.safetensors", "features", "reconstructions", "per_image.csv", "splits.csv"}
    return found


def untimed(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in TIMED}
