"""Ranks, which are processes that Lightning starts, end with the one that has started them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

STARTED_BY = "FACECRAFTER_RANK_0"
"""The environment variable in which the first rank tells the others its process."""
PR_SET_PDEATHSIG = 1
POLL = 0.5
"""Seconds between two looks at the first rank where the system does not tell."""


def end_with_rank_0() -> None:
    """Have this process killed when rank 0 ends, if that has started it.

    Left behind, a rank would work on for as long as its next collective takes to fail, on the files that the
    next run works on.
    """
    rank, parent = int(os.environ.get("LOCAL_RANK") or 0), os.environ.get(STARTED_BY)
    if rank == 0 or parent is None:
        os.environ[STARTED_BY] = str(os.getpid())  # the ranks that this one starts inherit it
        return
    if sys.platform == "linux":
        # By the kernel, which also sees a parent that was killed; a signal handler of the parent's would not.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(int(parent),), daemon=True).start()
    if os.getppid() != int(parent):  # it ended before this was said
        os.kill(os.getpid(), signal.SIGKILL)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL)
    os.kill(os.getpid(), signal.SIGKILL)
