"""What the tests share: one cache for all, and the command line as a user has it."""

from __future__ import annotations

import errno
import gc
import itertools
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from facecrafter import files

ROOT = Path(__file__).parents[1]
COUNT = itertools.count()

Command = Callable[..., subprocess.CompletedProcess[str]]


def pytest_sessionstart() -> None:
    """Garbage is collected between tests alone.

    In CPython 3.11 a collection that begins while a context variable is set, and whose finalisers set others,
    damages the table of them all (gh-148891), and jsonargparse fails in every later test of that process. An
    open progress bar that nobody holds is such a one: it writes a line, and W&B, who captures it, sets some.
    """
    gc.disable()


def pytest_runtest_setup() -> None:
    gc.collect(0)  # without the imports, which are old, it takes a millisecond


@pytest.fixture(scope="module", autouse=True)
def what_survived_its_test() -> Iterator[None]:
    yield
    gc.collect()
    gc.freeze()  # what is left stays, and is not walked again


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the most slow tests first: one that is begun last would end after all others."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session", autouse=True)
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Commands in this process and in others decode once, upload nothing and share out the cores."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACECRAFTER_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), str(ROOT)]))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_SILENT", "true")
        yield


@pytest.fixture(autouse=True)
def ranks_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test has a port for its ranks, which no test beside it and no passing connection takes (those are
    given higher ones), and leaves no process group to the next one."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for name in ("LOCAL_RANK", "NODE_RANK", "RANK", "GLOBAL_RANK", "WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)  # Lightning leaves them behind, and would start no rank then
    monkeypatch.setenv("MASTER_PORT", str(20_000 + worker % 6 * 2_000 + next(COUNT) % 2_000))
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@pytest.fixture(autouse=True)
def reports_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A study that is run in this process has its report made here: a new one imports for twice as long."""

    def report(output: Path) -> int:
        from experiments.report.__main__ import main

        main(["--study", str(output)])
        return 0

    if carry_out := sys.modules.get("experiments.study.carry_out"):
        monkeypatch.setattr(carry_out, "report", report)


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the cases of `every_module` build on, to be read alone: files of tests share it."""
    from every_module import fit_inputs  # its imports are not for tests that fit nothing

    return fit_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="session")
def command() -> Command:
    """Runs `python -m experiments.NAME ARGUMENTS` from the checkout, in a process of its own."""

    def run(
        name: str, *arguments: object, path: Path | None = None, **variables: object
    ) -> subprocess.CompletedProcess[str]:
        folders = [os.environ["PYTHONPATH"], *([str(path)] if path else [])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(folders)}
        environment |= {name: str(value) for name, value in variables.items()}
        line = [sys.executable, "-m", f"experiments.{name}", *map(str, arguments)]
        return subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1200)

    return run


@pytest.fixture
def small_disk(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """`{"room": bytes}` that `facecrafter.files` may still write."""
    disk: dict[str, Any] = {"room": 10**12}
    plain = files.NamedTemporaryFile

    def limited(*args: Any, **options: Any) -> Any:
        file = plain(*args, **options)
        write = file.file.write

        def checked(content: Any) -> int:
            disk["room"] -= len(content)
            if disk["room"] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written: int = write(content)
            return written

        file.write = checked
        return file

    monkeypatch.setattr(files, "NamedTemporaryFile", limited)
    return disk
