"""A process that imports torch and Lightning once, and forks itself for each stage of a study.

    python -m experiments.study.stage_server SOCKET [MODULE ...]

Importing takes each stage seven seconds otherwise. The server imports the commands' modules and runs nothing
of them, so that no thread and no CUDA context is there for a fork to break. `StageServer` starts it and asks
for stages through the SOCKET. That the socket closes says that the study is gone, by SIGKILL too: the server
then kills all stages, with their ranks and data loaders.
"""

from __future__ import annotations

import gc
import importlib
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

POLL = 0.1  # seconds
GRACE = 5.0  # seconds that interrupted stages have to end by themselves
FORK_IS_SAFE = (
    sys.platform == "linux"
)  # on macOS system libraries abort in a fork: each stage is a new Python


class StageServerDied(Exception):
    """The server has ended, and can no longer tell how its stages do."""


class StageServer:
    """The server, as the study sees it.

    Args:
        modules: what the stages will run; imported before the first one.
        environment: of the server and thus of all stages, in addition to the study's own.
    """

    def __init__(self, modules: Iterable[str], environment: Mapping[str, str]) -> None:
        self.connection, other = Pipe()
        line = [sys.executable, "-m", "experiments.study.stage_server", str(other.fileno())]
        with other:
            self.process = subprocess.Popen(
                [*line, *(modules if FORK_IS_SAFE else ())],
                stdin=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
                start_new_session=True,  # the terminal's Ctrl-C is for the study, which then calls `stop`
                env=os.environ | environment,
            )
        self.groups: dict[str, int] = {}  # the process group of each running stage

    def start(
        self, stage: str, module: str, arguments: list[str], log: Path, environment: Mapping[str, str]
    ) -> None:
        """Run `python -m MODULE ARGUMENTS` in a process group of its own, with its output in `log`.

        `environment` is the stage's own, in addition to the server's.
        """
        log.write_bytes(b"")
        with suppress(BrokenPipeError):  # `ended` will tell
            self.connection.send((stage, module, arguments, log, environment))

    def ended(self, timeout: float) -> Iterator[tuple[str, int]]:
        """Each stage that has ended and its exit code, 128 + n after signal n; waits `timeout` s for news.

        Raises:
            StageServerDied: instead of waiting for ever.
        """
        try:
            while self.connection.poll(timeout):
                stage, group, code = self.connection.recv()
                self.groups[stage] = group
                if code is not None:
                    del self.groups[stage]
                    yield stage, code
                timeout = 0.0
        except (EOFError, ConnectionError) as error:
            code = _shell_code(self.process.wait())
            raise StageServerDied(
                f"the stage server has ended with exit code {code}"
                + (" (killed, as when memory runs out)" if code == 128 + signal.SIGKILL else "")
                + "; its stages are ended too, and what is done is kept"
            ) from error

    def stop(self) -> None:
        """End the server and what still runs: a stage that does not hear SIGTERM after GRACE seconds."""
        self._signal(signal.SIGTERM)
        end = time.monotonic() + GRACE
        with suppress(StageServerDied):
            while self.groups and time.monotonic() < end:
                list(self.ended(POLL))
        self._signal(signal.SIGKILL)  # the server does so too, if it lives
        self.connection.close()
        self.process.terminate()  # heard as long as it imports
        self.process.wait()

    def _signal(self, number: signal.Signals) -> None:
        for group in self.groups.values():
            _signal_group(group, number)


def main() -> None:
    connection = Connection(int(sys.argv[1]))
    for module in sys.argv[2:]:
        importlib.import_module(module)
    gc.freeze()  # the children need not look through what was imported, and share its memory
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if request := serve(connection):
        run(*request)


def serve(connection: Connection) -> tuple[str, list[str], Path, dict[str, str]] | None:
    """Fork a child for each request and report its end; what `run` takes in a child, else None."""
    stages: dict[int, str] = {}
    try:
        while True:
            if connection.poll(POLL):
                stage, *request = connection.recv()
                if not (child := os.fork()):
                    connection.close()
                    return tuple(request)
                _lead_group(child)
                stages[child] = stage
                connection.send((stage, child, None))
            for child, code in _reap(stages):
                connection.send((stages.pop(child), child, code))
    except (EOFError, ConnectionError):  # the study is gone
        for child in stages:
            _signal_group(child, signal.SIGKILL)
        return None


def run(module: str, arguments: list[str], log: Path, environment: dict[str, str]) -> None:
    """Become `python -m MODULE ARGUMENTS`."""
    _lead_group(0)
    os.environ.update(environment)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if module not in sys.modules:
        os.execv(sys.executable, [sys.executable, "-m", module, *arguments])
    sys.argv[1:] = arguments
    del sys.modules[module]  # it is run as __main__, from which Lightning starts further ranks
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _reap(children: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Those that have ended, with their exit codes; a rank that outlived the others is killed."""
    for child in list(children):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            _signal_group(child, signal.SIGKILL)
            yield child, _shell_code(os.waitstatus_to_exitcode(status))


def _lead_group(process: int) -> None:
    """Both the child and the server see to it: whoever is first, it is done before anyone sends a signal."""
    with suppress(PermissionError, ProcessLookupError):  # the child has long done it
        os.setpgid(process, process)


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)


def _shell_code(code: int) -> int:
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    main()
