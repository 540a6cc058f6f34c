"""Every network that is trained, killed in the middle of an epoch and started again: bit for bit the same."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command
from every_module import CASES, config, last_state
from toy_rivals import shrink_rivals, small_tail

from experiments import fit

pytestmark = pytest.mark.filterwarnings("ignore:LightningCLI's args parameter", "ignore:Checkpoint directory")

TESTS = Path(__file__).parents[1]


def assert_same(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        same = torch.equal(value, second[name]) if isinstance(value, torch.Tensor) else value == second[name]
        assert same, f"{name} differs"


@pytest.mark.parametrize("name", CASES)
def test_a_killed_training_ends_where_an_unbroken_one_ends(
    name: str, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With real latents, shifts, dropout and noise: one that draws others trains another network."""
    shrink_rivals(monkeypatch, small_tail)
    case = CASES[name]
    unbroken, resumed = tmp_path / "unbroken", tmp_path / "resumed"
    whole = config(tmp_path / "whole.yaml", inputs, case, max_epochs=2)
    killer = [{"class_path": "killer.Killer"}]
    killed = config(tmp_path / "killed.yaml", inputs, case, max_epochs=2, callbacks=killer)
    fit.main(["--config", str(whole), "--output", str(unbroken)])
    with pytest.raises(SystemExit, match="killed"):
        fit.main(["--config", str(killed), "--output", str(resumed)])
    torch.rand(7)  # whatever was drawn before the restart must not matter
    fit.main(["--config", str(whole), "--output", str(resumed)])
    assert_same(last_state(unbroken, name), last_state(resumed, name))


def test_a_training_that_the_system_killed_goes_on_on_the_command_line(
    command: Command, inputs: Path, tmp_path: Path
) -> None:
    """With workers, which are seeded when an epoch's loader starts: once in a run, again in a resumed one."""
    case = CASES["Prior"] | {"data": {"batch_size": 6, "num_workers": 1}}
    unbroken, resumed = tmp_path / "unbroken", tmp_path / "resumed"
    whole = config(tmp_path / "whole.yaml", inputs, CASES["Prior"], max_epochs=2)
    killer = [{"class_path": "killer.Killer", "init_args": {"hard": True}}]
    killed = config(tmp_path / "killed.yaml", inputs, case, max_epochs=2, callbacks=killer)
    result = command("fit", "--config", killed, "--output", resumed, path=TESTS)
    assert result.returncode == -signal.SIGKILL, result.stderr
    for output in (resumed, unbroken):
        fit.main(["--config", str(whole), "--output", str(output)])
    assert_same(last_state(unbroken, "Prior"), last_state(resumed, "Prior"))
