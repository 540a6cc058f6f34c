"""What stages ask of the engine: too little would put several on one GPU, too much would let it wait."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from experiments.study import needs
from experiments.study.config import Cost
from experiments.study.executors.base import Needs


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        ({}, Needs(1, 1)),
        ({"accelerator": "cpu", "devices": 2}, Needs(2, 0)),
        ({"accelerator": "cuda", "devices": 4}, Needs(4, 4)),
        ({"devices": [0, 2]}, Needs(2, 2)),
        ({"devices": "0,2"}, Needs(2, 2)),
        ({"devices": "3,"}, Needs(1, 1)),
        ({"devices": -1}, Needs(8, 8)),
        ({"devices": "auto"}, Needs(1, 1)),
    ],
)
def test_a_fit_asks_for_the_devices_of_its_trainer(
    monkeypatch: pytest.MonkeyPatch, trainer: dict[str, Any], expected: Needs
) -> None:
    monkeypatch.setattr(needs, "device", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    assert needs.of_trainer(trainer, Cost()) == expected


def test_where_there_is_no_gpu_none_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "device", lambda: torch.device("cpu"))
    assert needs.of_trainer({"accelerator": "auto"}, Cost()).gpus == 0
    assert needs.of_command("auto", Cost()).gpus == 0
    assert needs.of_trainer({"accelerator": "gpu"}, Cost()).gpus == 1, (
        "the machine that computes may have one"
    )


def test_a_fit_that_was_planned_for_a_gpu_asks_for_one_by_name() -> None:
    """Lightning refuses it where there is none, instead of computing on the processor for weeks."""
    assert needs.held_to(Needs(1, 1), {"max_epochs": 2}) == {"max_epochs": 2, "accelerator": "gpu"}
    assert needs.held_to(Needs(1, 0), {"max_epochs": 2}) == {"max_epochs": 2}


def test_a_configuration_says_how_much_memory_and_how_many_cores_a_stage_takes() -> None:
    assert needs.of_trainer({"accelerator": "cpu"}, Cost(memory=3.5, cpus=4)) == Needs(4, 0, 3.5)
