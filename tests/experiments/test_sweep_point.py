"""One point of a sweep, as `wandb agent` runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from conftest import ROOT
from tiny_study import tiny_study, write

from experiments import sweep_point
from experiments.study.config import load, parse
from experiments.study.plan import Plan
from experiments.sweep_point import AGENTS, at, figures, settings

SWEEP: dict[str, Any] = yaml.safe_load((ROOT / "experiments" / "configs" / "sweep.yaml").read_text())
FIRST = {name: choice["values"][0] for name, choice in SWEEP["parameters"].items()}
SUMMARY = pd.DataFrame(
    {
        "defence": ["none", "noise"],
        "auc": [0.9, 0.88],
        "worst_eval_acc": [0.7, 0.2],
        "worst_eval_acc_lo": [0.6, 0.1],
        "worst_eval_acc_hi": [0.8, 0.3],
    }
)


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """The command's answer to SIGTERM is not for the other tests."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def agents_line(arguments: list[str], **options: object) -> list[str]:
    """What the agent makes of sweep.yaml's command, with other options than its own."""
    known = {"${env}": ["/usr/bin/env"], "${args}": arguments}
    line = [word for part in SWEEP["command"] for word in known.get(part, [part])]
    for name, value in options.items():
        (place,) = [i for i, word in enumerate(line) if word.startswith(f"--{name}=")]
        line[place] = f"--{name}={value}"
    return line


def test_the_sweep_sets_arguments_that_crafter_has() -> None:
    """A name that Crafter does not know would fail every point, after the agent has started."""
    demo = load(ROOT / "experiments" / "configs" / "demo.yaml")
    stages = Plan(parse(at(demo, "crafter", FIRST), "the point")).stages
    crafter = stages["crafter"].config["model"]["init_args"]
    damping = crafter["solver"]["init_args"]["damping"]
    found = {"beta": crafter["beta"], "iterations": crafter["iterations"]}
    assert found | {"solver.init_args.damping": damping} == FIRST
    kept = demo.defences["crafter"].model["init_args"]["solver"]["init_args"]["steps"]
    assert crafter["solver"]["init_args"]["steps"] == kept, "what is not swept stays as it was"


def test_values_are_read_as_the_agent_writes_them() -> None:
    line = ["--beta=1e-05", "--iterations=24", "--solver=None", "--smooth=True", "--kind=low", "--a=x=1"]
    assert settings(line) == {
        "beta": 1e-05,
        "iterations": 24,
        "solver": "None",
        "smooth": True,
        "kind": "low",
        "a": "x=1",
    }


def test_a_point_is_one_defence_at_one_setting() -> None:
    content = at(parse(tiny_study(), "tiny"), "noise", settings(["--sigma=0.5"]))
    assert set(content["defences"]) == {"none", "noise"}
    assert content["defences"]["noise"]["model"]["init_args"] == {"target": "${target}", "sigma": 0.5}
    assert content["defences"]["noise"]["strengths"] == {}


def test_what_cannot_be_set_is_named_before_anything_runs(tmp_path: Path) -> None:
    config = write(tiny_study(), tmp_path / "tiny.yaml")
    line = ["--config", str(config), "--output", str(tmp_path / "sweep")]
    with pytest.raises(SystemExit, match=r"sigma: set an init arg of the defence as --NAME=VALUE"):
        sweep_point.main([*line, "--defence=noise", "sigma"])
    for defence in ("crafter", "none"):
        with pytest.raises(
            SystemExit, match=rf"--defence {defence}: the study's are \['blur', 'mask', 'noise'\]"
        ):
            sweep_point.main([*line, f"--defence={defence}", "--beta=1"])
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(("auc", "affordable"), [(0.86, 0.2), (0.84, 1.0)])
def test_a_leak_that_utility_pays_for_is_no_success(auc: float, affordable: float) -> None:
    """Else a search would end at features that are of use to nobody."""
    assert figures(SUMMARY.replace(0.88, auc), "noise") == {
        "worst_eval_acc": 0.2,
        "worst_eval_acc_lo": 0.1,
        "worst_eval_acc_hi": 0.3,
        "auc": auc,
        "auc_loss": pytest.approx(0.9 - auc),
        "affordable_eval_acc": affordable,
    }


# The command in a process of its own: wandb keeps a service and its settings for each, whatever else used it.
COMMAND = """
import os, sys
from experiments import sweep_point
from experiments.study import carry_out

def run(config, output):
    assert not set(sweep_point.AGENTS) & os.environ.keys(), "a stage's run would take the point's id"
    return int(os.environ["STUDY_EXITS_WITH"])

carry_out.run = run
sweep_point.main(sys.argv[1:])
"""


def agent(folder: Path, exits_with: int) -> tuple[int, Path]:
    """The exit code of the agent's command, on a study that ends at once, and what wandb kept of it."""
    config, output = write(tiny_study(), folder / "tiny.yaml"), folder / "sweep"
    output.mkdir()
    SUMMARY.to_csv(output / "summary.csv", index=False)
    chosen = folder / "chosen.yaml"
    chosen.write_text(yaml.safe_dump({"sigma": {"value": 0.5}}))
    line = agents_line(["--sigma=0.5"], config=config, defence="noise", output=output)
    assert line[:4] == ["/usr/bin/env", "python", "-m", "experiments.sweep_point"]
    told = dict(zip(AGENTS, ("sweep7", str(chosen), "point7"), strict=True))
    environment = os.environ | told | {"STUDY_EXITS_WITH": str(exits_with)}
    done = subprocess.run([sys.executable, "-c", COMMAND, *line[4:]], env=environment, cwd=ROOT, check=False)
    (point,) = (output / "wandb").glob("offline-run-*/run-point7.wandb")
    return done.returncode, point


def test_the_agents_command_reports_one_run(tmp_path: Path) -> None:
    code, point = agent(tmp_path, exits_with=0)
    assert code == 0
    sweep = tmp_path / "sweep"
    assert load(sweep / "sweep_point.yaml").defences["noise"].model["init_args"]["sigma"] == 0.5
    content = point.read_bytes()
    assert all(name.encode() in content for name in ("sweep7", "sigma", "worst_eval_acc", "auc_loss"))
    assert str(sweep).encode() not in content


def test_a_point_whose_study_fails_is_no_result(tmp_path: Path) -> None:
    """The summary of the point before is still in the folder."""
    code, point = agent(tmp_path, exits_with=1)
    assert code == 1
    assert b"worst_eval_acc" not in point.read_bytes()
