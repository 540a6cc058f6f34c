"""What each kind of stage occupies while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from experiments.machine import device
from experiments.study.config import Cost
from experiments.study.executors.base import Needs

GPU = {"gpu", "cuda"}
"""What a Trainer calls them."""


def of_trainer(trainer: Mapping[str, Any], cost: Cost) -> Needs:
    """What a run of this Trainer needs: a process for each device that it asks for, with its GPU if any."""
    accelerator, devices = trainer.get("accelerator", "auto"), _devices(trainer.get("devices", 1))
    on_gpu = accelerator in GPU or (accelerator == "auto" and device().type == "cuda")
    return Needs(cost.cpus or devices, devices if on_gpu else 0, cost.memory)


def held_to(needs: Needs, trainer: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a Trainer's section that asks for a GPU by name if it was planned for one.

    A worker without any would take its processor instead and say nothing.
    """
    return {**trainer, "accelerator": "gpu"} if needs.gpus else dict(trainer)


def of_command(place: str, cost: Cost) -> Needs:
    """What an attack or a measurement needs that computes on the device `place`."""
    return Needs(cost.cpus or 1, int(place != "cpu" and device().type == "cuda"), cost.memory)


def place_of(trainer: Mapping[str, Any]) -> str:
    """Where a study attacks and measures whose fits have this Trainer: on one of its kind of device."""
    return "cpu" if trainer.get("accelerator") == "cpu" else "auto"


def _devices(asked: int | str | list[int]) -> int:
    """How many devices the Trainer's argument means; `auto` is content with the one that it is given."""
    if asked == "auto":
        return 1
    if isinstance(asked, str):
        numbers = [int(number) for number in asked.split(",") if number]
        asked = numbers if "," in asked else numbers[0]
    if isinstance(asked, list):
        return len(asked)
    return torch.cuda.device_count() if asked == -1 else max(1, asked)
