"""What the tests share: the command line as a user has it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Runs `python -m experiments.NAME ARGUMENTS` from the checkout, with one cache for all tests."""
    cache = tmp_path_factory.mktemp("cache")

    def run(name: str, *arguments: object, path: Path | None = None) -> subprocess.CompletedProcess[str]:
        folders = [str(ROOT / "src"), str(ROOT), *([str(path)] if path else [])]
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(folders),
            "FACECRAFTER_CACHE": str(cache),
            "WANDB_SILENT": "true",
        }
        line = [sys.executable, "-m", f"experiments.{name}", *map(str, arguments)]
        return subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)

    return run
