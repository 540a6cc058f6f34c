"""`python -m experiments.fit` with the arguments given, and then its peak memory as the last line: a JSON of
`peak_mbyte`, of the process, and `gpu_peak_mbyte`.

A process of its own for every measurement: memory that was given back is not seen again in a high-water mark.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import torch

from experiments import fit


def peak_mbyte() -> float:
    """The most memory that this process has held.

    Linux knows that of the program itself; the usual count includes the process that started it.
    """
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    marks = [line.split() for line in lines if line.startswith("VmHWM:")]
    if marks:
        return int(marks[0][1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    fit.main()
    on_gpu = torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else None
    print(json.dumps({"peak_mbyte": peak_mbyte(), "gpu_peak_mbyte": on_gpu}))
