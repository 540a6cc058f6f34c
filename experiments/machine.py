"""What a number was computed with: the machine and the versions, for reports and benches."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

PACKAGES = ("facecrafter", "torch", "torchvision", "pytorch-lightning", "torchmetrics", "pot")


_chosen = "auto"


def compute_on(name: str) -> None:
    """Choose the `device`: `auto`, `cpu`, `cuda` or, where there are several GPUs, `cuda:1`.

    Raises:
        ValueError: there is no such device here.
    """
    global _chosen
    kind, _, number = name.partition(":")
    gpus = torch.cuda.device_count()
    if name not in ("auto", "cpu", "cuda") and not (kind == "cuda" and number.isdecimal()):
        raise ValueError(f"device {name!r} is unknown: name auto, cpu, cuda or cuda:1")
    if kind == "cuda" and int(number or 0) >= gpus:
        raise ValueError(f"device {name!r} is asked for, but there are {gpus} GPUs here: name auto or cpu")
    _chosen = name


def device() -> torch.device:
    """What attacks, measurements and benches compute on: unless another is chosen, the GPU where there is
    one."""
    if _chosen != "auto":
        return torch.device(_chosen)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def cores() -> int:
    """Those that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, str | int | float]:
    """Processor, cores, threads in use, the load average (how many others wanted the processor too), and what
    computes: the GPU's name, or cpu."""
    return {
        "processor": _processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else 0.0,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }


def made_with() -> str:
    """The machine and the versions, in a line; threads and load are those of a process, and it is not said of
    which."""
    facts = {**machine(), **versions()}
    return ", ".join(f"{name} {value}" for name, value in facts.items() if name not in ("threads", "load"))


def _processor() -> str:
    """The model's name where Linux tells it, else the architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
