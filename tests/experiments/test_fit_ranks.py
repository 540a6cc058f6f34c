"""Every network that is trained, on two gloo ranks: the weights of one process by the same configuration."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from every_module import CASES, SOLVED_AT_ONCE, config, last_state
from torch import Tensor

pytestmark = pytest.mark.filterwarnings("ignore:LightningCLI's args parameter", "ignore:Checkpoint directory")

TESTS = Path(__file__).parents[1]
QUICK = ["TargetNetwork", "Prior"]
WITNESS = {"callbacks": [{"class_path": "two_ranks.Witness"}], "max_epochs": 2, "precision": "64-true"}


def fitted(folder: Path, inputs: Path, names: list[str], ranks: int) -> Path:
    """A folder with these cases, each trained by `ranks` processes."""
    strategy = {1: "auto", 2: "ddp_find_unused_parameters_true"}[ranks]
    line: list[Path] = []
    for name in names:
        trainer = WITNESS | {"devices": ranks, "strategy": strategy}
        line += [config(folder / f"{name}.yaml", inputs, CASES[name], **trainer), folder / name]
    command = [sys.executable, TESTS / "two_ranks.py", *line]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-5000:]
    return folder


@pytest.fixture(scope="module")
def folders(
    request: pytest.FixtureRequest, inputs: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Folders of all cases that this session asks for, by one process and by two: each imports everything."""
    items = [item for item in request.session.items if item.path == request.path]
    names = list(dict.fromkeys(item.callspec.params["name"] for item in items))
    one, two = (fitted(tmp_path_factory.mktemp("ranks"), inputs, names, ranks) for ranks in (1, 2))
    return one, two


def report(folder: Path, rank: int) -> dict[str, Any]:
    """What the witness of a rank wrote down."""
    found: dict[str, Any] = json.loads((folder / f"rank{rank}.json").read_text())
    return found


def steps(folder: Path) -> int:
    """That were made until the last checkpoint."""
    found: int = torch.load(folder / "last.ckpt", weights_only=True)["global_step"]
    return found


def assert_one_result(name: str, one: Path, two: Path) -> None:
    """Two ranks had the batches of one process between them, and ended with its weights and figures.

    Most weights agree to 1e-14. A bias before an instance norm has no effect and so no gradient: Adam makes
    steps of up to 1e-3 times the rounding error over 1e-8 of it.
    """
    alone, first, second = report(one, 0), report(two, 0), report(two, 1)
    assert first["weights"] == second["weights"]
    assert len(first["batches"]) == len(alone["batches"])
    halves = zip(first["batches"], second["batches"], strict=True)
    assert [own + other for own, other in halves] == alone["batches"] != []
    assert first["validation"] == pytest.approx(alone["validation"], rel=1e-6)
    if name not in SOLVED_AT_ONCE:
        assert steps(two) == steps(one)
    found = last_state(two, name)
    for key, value in last_state(one, name).items():
        if isinstance(value, Tensor):
            torch.testing.assert_close(found[key], value, rtol=1e-6, atol=1e-6, msg=key)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_two_ranks_train_what_one_trains(name: str, folders: tuple[Path, Path]) -> None:
    """Otherwise a second device would change a study's figures under the same key."""
    assert_one_result(name, folders[0] / name, folders[1] / name)
