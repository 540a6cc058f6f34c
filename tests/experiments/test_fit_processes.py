"""Several processes and one folder: a second fit is kept out, and no rank outlives the first one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, Command
from every_module import INPUTS, config

TESTS = Path(__file__).parents[1]


def until(condition: Callable[[], bool], seconds: float = 120) -> bool:
    """Wait for `condition`, at most so long; whether it has come true."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    return condition()


def runs(process: int) -> bool:
    """Whether the process is there, and not only waiting to be forgotten by its parent."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_a_folder_in_use_is_refused_and_no_rank_outlives_the_first(command: Command, tmp_path: Path) -> None:
    """Else two fits write one file, or a rank that nobody waits for writes to the folder of the next run."""
    trainer = {"callbacks": [{"class_path": "killer.Sleeper"}], "devices": 2, "strategy": "ddp"}
    line = config(tmp_path / "c.yaml", tmp_path, INPUTS["target"], **trainer)
    output = tmp_path / "run"
    folders = os.pathsep.join([os.environ["PYTHONPATH"], str(TESTS)])
    first = subprocess.Popen(
        [sys.executable, "-m", "experiments.fit", "--config", line, "--output", output],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": folders},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        notes = [output / f"rank{rank}.pid" for rank in (0, 1)]
        assert until(lambda: all(note.is_file() and note.read_text() for note in notes))
        ranks = [int(note.read_text()) for note in notes]
        assert ranks[0] == first.pid

        second = command("fit", "--config", line, "--output", output, path=TESTS)
        assert second.returncode != 0
        assert f"in use by process {first.pid} on {socket.gethostname()}" in second.stderr
        assert "Traceback" not in second.stderr

        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        assert until(lambda: not runs(ranks[1]), 10)
    finally:
        first.kill()
