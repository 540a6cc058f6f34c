"""How stages are run: what they find, where their output goes, and what becomes of them at an early end."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

import experiments
from experiments.study import runner as study_runner
from experiments.study.artifacts import CUT_OFF, Artifacts
from experiments.study.executors import local
from experiments.study.executors.base import Job
from experiments.study.executors.local import LocalExecutor
from experiments.study.keys import Stage
from experiments.study.marker import read_marker
from experiments.study.runner import Runner

# A package of the real modules and these commands, which import nothing slow.
PACKAGE = f"__path__.append({experiments.__path__[0]!r})\n"
COMMANDS = {
    # Two processes that sleep.
    "nap": """
import fcntl, os, signal, sys, time
from pathlib import Path

def tidy_up(*_):
    (folder / "tidy").touch()
    os._exit(0)

if __name__ == "__main__":
    folder = Path(sys.argv[2]).parents[2]
    alive = (folder / "alive").open("w")
    fcntl.flock(alive, fcntl.LOCK_EX)
    signal.signal(signal.SIGTERM, signal.SIG_IGN if (folder / "deaf").exists() else tidy_up)
    parent = os.getppid()
    second = os.fork()  # it inherits the lock
    (folder / f"started{os.getpid()}").write_text(str(parent))
    if second and (folder / "crash").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)
""",
    # What a command can see of how it was started.
    "look": """
import json, os, sys
from dataclasses import dataclass
from pathlib import Path

@dataclass
class Local:
    pass

if __name__ == "__main__":
    import __main__
    facts = {
        "argv": sys.argv,
        "spec": __main__.__spec__.name,
        "main": Local.__module__ == "__main__" and __main__.Local is Local,
        "stdin": sys.stdin.read(),
        "leads": os.getpgrp() == os.getpid(),
        "threads": os.environ["OMP_NUM_THREADS"],
        "unbuffered": sys.stdout.write_through,
        "wandb": [os.environ[f"WANDB_{name}"] for name in ("RUN_GROUP", "NAME", "JOB_TYPE")],
    }
    Path(sys.argv[2]).with_name("facts.json").write_text(json.dumps(facts))
""",
    # Arithmetic in several threads, and what is read from the environment when it is imported.
    "compute": """
import io
import torch
from tqdm import tqdm

if __name__ == "__main__":
    torch.ones(1000, 1000, requires_grad=True).sin().sum().backward()
    print(torch.get_num_threads(), tqdm(file=io.StringIO()).mininterval)
""",
    # Goes on when the other one is there too, and writes in every way there is.
    "meet": """
import os, sys, time
from pathlib import Path
from experiments import slow

if __name__ == "__main__":
    config = Path(sys.argv[2])
    slow.USERS.append(config)
    name, here = config.parent.name[:4], config.parents[2] / "here"
    here.mkdir(exist_ok=True)
    (here / name).touch()
    print(f"{name} print", len(slow.USERS))
    sys.stderr.write(f"{name} error\\n")
    os.system(f"echo {name} child")
    end = time.monotonic() + 20
    while len(list(here.iterdir())) < 2:
        assert time.monotonic() < end, "alone"
        time.sleep(0.05)
""",
    # Counts how often it is imported.
    "slow": """
from pathlib import Path
USERS = []
with Path("imported").open("a") as file:
    file.write("once\\n")
""",
    # Ends as its configuration says.
    "end": """
import os, sys, yaml
from pathlib import Path

if __name__ == "__main__":
    how = yaml.safe_load(Path(sys.argv[2]).read_text())["how"]
    if how == "killed":
        os.kill(os.getpid(), 9)
    if how == "error":
        raise ValueError("a mistake")
    sys.exit(how)
""",
    # Is killed the first time.
    "once": """
import os
from pathlib import Path

if __name__ == "__main__":
    if not Path("tried").exists():
        Path("tried").touch()
        os.kill(os.getpid(), 9)
""",
    "broken": "import no_such_package",
}
STUDY = """
import signal, sys
from pathlib import Path
from experiments.study import runner
from experiments.study.executors import local
from experiments.study.keys import Stage
from experiments.study.marker import read_marker
from experiments.study.artifacts import CUT_OFF, Artifacts

signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as the command does
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs deaf to it
local.GRACE = 0.5
artifacts = Artifacts(Path(sys.argv[1]), {"nap": "0" * 64})

def ray(environment, commands):
    from experiments.study.executors.ray import RayExecutor
    small = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 80 * 2**20}
    return RayExecutor(environment, address="local", **small)

def slurm(environment, commands):
    from experiments.study.executors.slurm import SlurmExecutor
    return SlurmExecutor(environment, cluster="local")

engine = {"local": None, "ray": ray, "slurm": slurm}[sys.argv[2]]
done = runner.Runner({"nap": Stage("nap", "nap", {})}, artifacts, jobs=1, engine=engine).run(["nap"])
sys.exit(0 if done else 1)
"""


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `python -m experiments.nap` is the one above."""
    package = tmp_path / "experiments"
    package.mkdir()
    (package / "__init__.py").write_text(PACKAGE)
    for name, text in COMMANDS.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    forkserver._forkserver._stop()  # the one of another test has other commands
    monkeypatch.delenv("WANDB_RUN_GROUP", raising=False)  # a fit in this process has set it


@contextmanager
def study(folder: Path, engine: str = "local") -> Iterator[subprocess.Popen[str]]:
    """A study of one stage, both of whose processes have started, in a session as a terminal's."""
    line = [sys.executable, "-c", STUDY, str(folder), engine]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), os.environ["PYTHONPATH"]])}
    process = subprocess.Popen(
        line, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        wait_until(lambda: len(list(folder.glob("started*"))) >= 2)
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until(holds: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"it did not happen within {seconds} seconds"
        time.sleep(0.05)


def all_gone(folder: Path) -> bool:
    """Whether no process of the stage is left to hold its lock."""
    with (folder / "alive").open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def runner(folder: Path, command: str, *names: str, **config: Any) -> Runner:
    """One that runs these stages, all at a time and with three threads each."""
    stages = {name: Stage(name, command, {key: config[key][name] for key in config}) for name in names}
    found = Runner(stages, Artifacts(folder, dict.fromkeys(names, "0" * 64)), jobs=len(names))
    found.threads = 3
    return found


@pytest.fixture(params=[True, False], ids=["forked", "new Python"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a fork is safe, and on macOS."""
    monkeypatch.setattr(local, "FORK_IS_SAFE", request.param)


@pytest.mark.usefixtures("either_way")
def test_a_stage_finds_what_python_m_gives_it(tmp_path: Path) -> None:
    """Lightning starts further ranks with `__main__.__spec__` and `sys.argv`, and hangs if they are wrong;
    Weights & Biases finds in the environment what the stage's run is called."""
    run = runner(tmp_path, "look", "one")
    assert run.run(["one"])
    folder = run.artifacts.folder("one")
    assert json.loads((folder / "facts.json").read_text()) == {
        "argv": [str(tmp_path / "experiments" / "look.py"), "--config", str(folder / "stage.yaml")],
        "spec": "experiments.look",
        "main": True,
        "stdin": "",
        "leads": True,
        "threads": "3",
        "unbuffered": True,
        "wandb": [tmp_path.name, "one", "look"],
    }
    assert run.artifacts.log("one").read_text() == "", "no warning of runpy's either"


@pytest.mark.usefixtures("either_way")
def test_a_stages_number_of_threads_is_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would take all cores; or wait for ever for threads that the server had made."""
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)  # who sets it has chosen for torch
    monkeypatch.setenv("MKL_DYNAMIC", "FALSE")  # three, on a machine with fewer cores too
    run = runner(tmp_path, "compute", "compute")
    assert run.run(["compute"])
    assert run.artifacts.log("compute").read_text() == "3 5.0\n"


@pytest.mark.parametrize(
    ("said", "threads"), [("", 4), ("1", 1), ("3", 3), ("16", 4), ("0", 4), ("two", 4), ("4,2", 4)]
)
def test_a_study_takes_no_more_threads_than_the_environment_gives_it(
    said: str, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two studies on one machine, each with all its cores, would wait for each other's threads."""
    monkeypatch.setattr(study_runner, "cores", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert Runner({}, Artifacts(tmp_path, {}), jobs=2).threads == threads


@pytest.mark.parametrize("step", ["begin", "finish"])
def test_a_full_disk_fails_one_stage_and_stops_no_other(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What another has computed for hours would be given up."""
    whole = getattr(Artifacts, step)

    def full(self: Artifacts, stage: Stage, *seconds: float) -> None:
        if stage.name == "left":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder(stage.name) / "x"))
        whole(self, stage, *seconds)

    monkeypatch.setattr(Artifacts, step, full)
    run = runner(tmp_path, "look", "left", "right")
    assert not run.run(["left", "right"])
    assert not run.artifacts.is_done("left")
    assert run.artifacts.is_done("right")
    assert "x: No space left on device; make room there" in capsys.readouterr().out


def test_stages_run_side_by_side_and_share_an_import_but_nothing_else(tmp_path: Path) -> None:
    """They would overwrite each other's logs, or find what another has left in a module."""
    run = runner(tmp_path, "meet", "left", "right")
    assert run.run(["left", "right"])
    for name in ("left", "right"):
        lines = {f"{name[:4]} print 1", f"{name[:4]} error", f"{name[:4]} child"}
        assert set(run.artifacts.log(name).read_text().splitlines()) == lines
    assert (tmp_path / "imported").read_text() == "once\n"


@pytest.mark.usefixtures("either_way")
def test_each_way_to_fail_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    how = {"three": 3, "error": "error", "message": "this is why", "killed": "killed", "good": 0}
    run = runner(tmp_path, "end", *how, how=how)
    assert not run.run(how)
    shown = capsys.readouterr().out
    for name, code in {"three": 3, "error": 1, "message": 1}.items():
        assert f"FAILED {name} (exit code {code})" in shown
    assert "FAILED killed (the process was killed, as when memory runs out, 2 times)" in shown
    assert "ValueError: a mistake" in shown
    assert "this is why" in shown
    assert "FAILED good" not in shown
    assert [name for name in how if run.artifacts.is_done(name)] == ["good"]


def test_of_twenty_stages_one_that_fails_stops_those_that_build_on_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rest of a study of a week would be lost to one bad setting."""
    names = [f"s{number}" for number in range(20)]
    after = {"s7": ("s3",), "s8": ("s7",), "s9": ("s3", "s4"), "s10": ("s4",)}
    stages = {
        name: Stage(name, "end", {"how": 3 if name == "s3" else 0}, after.get(name, ())) for name in names
    }
    run = Runner(stages, Artifacts(tmp_path, dict.fromkeys(names, "0" * 64)), jobs=4)
    assert not run.run(names)
    assert [name for name in names if not run.artifacts.is_done(name)] == ["s3", "s7", "s8", "s9"]
    assert set(run.not_run) == {"s7", "s8", "s9"}
    shown = capsys.readouterr().out
    assert "failed: s3 (exit code 3): " in shown
    assert "not run because of it: s" in shown
    assert "16 of 20 stages are done and kept" in shown


@pytest.mark.skipif(not local.FORK_IS_SAFE, reason="there is no server of processes here")
def test_a_stage_that_ends_while_another_begins_is_not_taken_for_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both read its exit code from the same pipe; slowly here, so that they would meet."""
    read = forkserver.read_signed

    def slowly(descriptor: int) -> int:
        time.sleep(0.05)
        return read(descriptor)

    monkeypatch.setattr(forkserver, "read_signed", slowly)
    names = [f"s{number}" for number in range(12)]
    stages = {name: Stage(name, "end", {"how": 0}, ()) for name in names}
    run = Runner(stages, Artifacts(tmp_path, dict.fromkeys(names, "0" * 64)), jobs=4)
    assert run.run(names)
    assert "DIED" not in capsys.readouterr().out


class Refusing(LocalExecutor):
    """An engine that never has room, and says why when it is asked all the same."""

    def accepts(self, job: Job) -> bool:
        return False

    def submit(self, job: Job) -> Future[int]:
        raise ValueError(f"{job.name} needs 2 GPUs, but there is none")


def test_a_stage_that_no_engine_can_run_fails_and_is_not_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = runner(tmp_path, "end", "one", how={"one": 0})
    run.engine = lambda environment, commands: Refusing(1, environment)
    assert not run.run(["one"])
    assert "failed: one (ValueError: one needs 2 GPUs, but there is none)" in capsys.readouterr().out


def test_what_is_thrown_away_counts_as_gone_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while it deletes, a stage that is to be computed anew would count as done, with files missing,
    or go on from an old checkpoint."""
    artifacts = Artifacts(tmp_path, {"one": "0" * 64})
    stage = Stage("one", "end", {})
    artifacts.begin(stage)
    artifacts.finish(stage, 1.0)
    assert artifacts.is_done("one")

    def killed(folder: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            artifacts.discard("one")
    assert not artifacts.folder("one").exists()
    artifacts.begin(stage)
    artifacts.discard("one")
    assert not list(artifacts.root.iterdir())


def test_seconds_of_a_stage_count_the_runs_that_were_cut_off(tmp_path: Path) -> None:
    """Once a study was killed and went on, an image would seem to cost what its last few took."""
    artifacts = Artifacts(tmp_path, {"one": "0" * 64})
    stage = Stage("one", "end", {})
    for ran in (100.0, 20.0, 0.0):  # the last was killed before it printed anything
        artifacts.begin(stage)
        began = artifacts.config("one").stat().st_mtime
        os.utime(artifacts.log("one"), (began + ran, began + ran))
    artifacts.begin(stage)
    artifacts.finish(stage, 3.0)
    assert read_marker(artifacts.folder("one"))["seconds"] == pytest.approx(123, abs=0.2)
    artifacts.discard("one")
    artifacts.begin(stage)
    artifacts.finish(stage, 3.0)
    assert read_marker(artifacts.folder("one"))["seconds"] == 3, "thrown away, so paid for nothing"


@pytest.mark.parametrize("note", ["", "nan", "-1", "inf", "soon"])
def test_a_damaged_note_of_time_costs_no_study(note: str, tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path, {"one": "0" * 64})
    stage = Stage("one", "end", {})
    artifacts.begin(stage)
    (artifacts.folder("one") / CUT_OFF).write_text(note)
    artifacts.finish(stage, 3.0)
    assert read_marker(artifacts.folder("one"))["seconds"] == 3


def test_a_stage_that_drew_pictures_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever tries a study sees what an attacker sees after two minutes, not after the report."""
    run = runner(tmp_path, "end", "decoder", "target", how={"decoder": 0, "target": 0})
    (run.artifacts.folder("decoder") / "images").mkdir(parents=True)
    assert run.run(["decoder", "target"])
    shown = capsys.readouterr().out
    assert re.search(r"^done   decoder in .*; pictures in artifacts/decoder-0+/images$", shown, re.M)
    assert re.search(r"^done   target in [\d:]+$", shown, re.M)


def test_a_stage_whose_worker_dies_is_tried_once_more(tmp_path: Path) -> None:
    """Somebody else's memory is no fault of the stage."""
    run = runner(tmp_path, "once", "one")
    assert run.run(["one"])
    assert run.deaths == {"one": 1}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_stage_ends_with_its_study(tmp_path: Path, number: signal.Signals) -> None:
    """Left behind, it would work against the next run's on the same files."""
    with study(tmp_path) as process:
        assert not all_gone(tmp_path)
        process.send_signal(number)
        wait_until(lambda: all_gone(tmp_path))
        assert process.wait(timeout=10) != 0
    assert (tmp_path / "tidy").exists() == (number != signal.SIGKILL), "who has the time lets a stage tidy up"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
@pytest.mark.parametrize(("engine", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_stage_ends_with_its_study_whoever_carries_it_out(
    tmp_path: Path, engine: str, package: str, number: signal.Signals
) -> None:
    """A terminal's Ctrl-C is sent to the engine's own processes too, which may not die of it first."""
    pytest.importorskip(package)
    with study(tmp_path, engine) as process:
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        shown, _ = process.communicate(timeout=60)
        wait_until(lambda: all_gone(tmp_path))
    assert process.returncode == (143 if number == signal.SIGTERM else -signal.SIGINT)
    assert "stopping nap; what is done is kept" in shown
    assert (tmp_path / "tidy").exists()


def test_a_stage_that_does_not_hear_sigterm_ends_all_the_same(tmp_path: Path) -> None:
    """As a fit does: Lightning notes the signal and goes on protecting."""
    (tmp_path / "deaf").touch()
    with study(tmp_path) as process:
        process.send_signal(signal.SIGINT)
        wait_until(lambda: all_gone(tmp_path))


def test_what_a_crashed_stage_leaves_behind_is_ended(tmp_path: Path) -> None:
    """The second rank of a fit whose first ran out of memory would go on writing for hours."""
    (tmp_path / "crash").touch()
    with study(tmp_path) as process:
        shown, _ = process.communicate(timeout=120)
        assert process.returncode == 1
        assert "FAILED nap (the process was killed, as when memory runs out, 2 times)" in shown
        assert all_gone(tmp_path)


def test_the_end_of_the_server_is_not_the_end_of_the_study(tmp_path: Path) -> None:
    """The study would wait for ever, or the stages go on unseen; a new server starts the stage again."""
    with study(tmp_path) as process:
        server = int(next(tmp_path.glob("started*")).read_text())
        assert server not in (process.pid, os.getpid())
        os.kill(server, signal.SIGKILL)
        wait_until(lambda: len(list(tmp_path.glob("started*"))) >= 4)
        process.send_signal(signal.SIGTERM)
        shown, _ = process.communicate(timeout=120)
        assert "DIED   nap: the process, or the server that it came from, has died" in shown
        wait_until(lambda: all_gone(tmp_path))


def test_a_server_that_dies_while_it_is_asked_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between its first word and its last: the study would end, with an EOFError and no name."""
    answers, misses = forkserver.read_signed, iter([EOFError("unexpected EOF"), ConnectionResetError()])

    def read(place: int) -> int:
        answer = answers(place)
        if miss := next(misses, None):
            raise miss
        return answer

    monkeypatch.setattr(forkserver, "read_signed", read)
    monkeypatch.setattr(local, "AGAIN", 0)
    job = Job("nothing", "no_such_command", (), tmp_path / "log", {})
    assert LocalExecutor(1, {}).submit(job).result(60) == 1


def test_a_command_that_cannot_be_imported_fails_its_stage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not runner(tmp_path, "broken", "broken").run(["broken"])
    shown = capsys.readouterr().out
    assert "FAILED broken (exit code 1)" in shown
    assert "No module named 'no_such_package'" in shown


@pytest.mark.slow
def test_importing_the_commands_makes_nothing_that_a_fork_would_break(tmp_path: Path) -> None:
    """OpenMP's threads and a CUDA context do not survive one; OpenBLAS ends its own threads before it."""
    script = """
import os, torch
for name in ("_cuda_getDeviceCount", "_cuda_init"):
    setattr(torch._C, name, None)  # calling it is an error
import experiments.attack, experiments.fit, experiments.measure, experiments.study.data
print(len(os.listdir("/proc/self/task")))
"""
    environment = os.environ | {"OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "1"}
    line = [sys.executable, "-c", script]
    result = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert result.stdout == "1\n", result.stderr
