"""`python -m experiments.fit` as a user runs it: what it leaves behind, resumed, and on two processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command
from tiny_study import DATA, TRAINER, model, write

from experiments import fit
from facecrafter.store import TensorStore

pytestmark = pytest.mark.filterwarnings("ignore:LightningCLI's args parameter", "ignore:Checkpoint directory")


def fit_config(path: Path, module: dict[str, Any], people: int = 4, **trainer: Any) -> Path:
    """A configuration with one private-test image of each of `people`, protected two at a time."""
    data = {**DATA, "init_args": DATA["init_args"] | {"private_identities": people}}
    content = {"trainer": {**TRAINER, **trainer}, "model": module, "data": data, "threads": 1}
    return write(content, path)


@pytest.fixture(scope="module")
def crafter(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The `model` section of a Crafter, its target network and prior trained for an epoch."""
    folder = tmp_path_factory.mktemp("artifacts")
    prior = model("Prior", image_size=32, latent_dim=8, width=4, critic_width=4)
    target = model("TargetNetwork", n_outputs=17, arch="resnet18_quarter")
    for name, module in {"target": target, "prior": prior}.items():
        config = fit_config(folder / f"{name}.yaml", module)
        fit.main(["--config", str(config), "--output", str(folder / name)])
    small = {"iterations": 2, "inner": {"first": 2, "starts": 1}, "critic": {"steps": 1, "width": 4}}
    return model("Crafter", target=str(folder / "target"), prior=str(folder / "prior"), **small)


def features(folder: Path) -> dict[str, torch.Tensor]:
    return TensorStore.open(folder / "features").load("row", "features")


def test_every_image_is_crafted_once_whatever_the_number_of_processes(
    command: Command, tmp_path: Path, crafter: dict[str, Any]
) -> None:
    """Killed and resumed, or three batches shared by two ranks: the features are bit for bit the same."""
    config = fit_config(tmp_path / "crafter.yaml", crafter, people=6)
    one, two = tmp_path / "one", tmp_path / "two"
    fit.main(["--config", str(config), "--output", str(one)])
    alone = features(one)
    assert len(alone["row"]) == len(alone["row"].unique()) == 6

    next((one / "features").glob("*.safetensors")).unlink()
    kept = {file.name: file.stat().st_mtime_ns for file in (one / "features").glob("*.safetensors")}
    assert len(kept) == 2
    fit.main(["--config", str(config), "--output", str(one)])
    resumed = features(one)
    assert all((one / "features" / name).stat().st_mtime_ns == time for name, time in kept.items())

    ranks = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
    result = command("fit", "--config", config, "--output", two, *ranks)
    assert result.returncode == 0, result.stderr
    assert {file.name for file in (two / "logs").iterdir()} == {f"iterations-rank{rank}.csv" for rank in "01"}
    for other in (resumed, features(two)):
        assert torch.equal(other["row"], alone["row"])
        assert torch.equal(other["features"], alone["features"])


def test_a_killed_training_goes_on_from_its_last_epoch(tmp_path: Path) -> None:
    network, output = model("TargetNetwork", n_outputs=17, arch="resnet18_quarter"), tmp_path / "out"
    killer = [{"class_path": "killer.Killer"}]
    killed = fit_config(tmp_path / "killed.yaml", network, max_epochs=2, callbacks=killer)
    with pytest.raises(SystemExit, match="killed"):
        fit.main(["--config", str(killed), "--output", str(output)])
    before = torch.load(output / "last.ckpt", weights_only=True)
    again = fit_config(tmp_path / "again.yaml", network, max_epochs=2)
    fit.main(["--config", str(again), "--output", str(output)])
    after = torch.load(output / "last.ckpt", weights_only=True)
    assert (before["epoch"], after["epoch"]) == (0, 1)
    assert after["global_step"] == 2 * before["global_step"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model": model("TargetNetwork", n_outputs=17, archh="resnet18")},
            "Option 'archh' is not accepted, perhaps 'arch'; TargetNetwork takes n_outputs, ",
        ),
        ({"model": model("NoSuchNetwork")}, "NoSuchNetwork"),
        ({"trainer": {"max_epoch": 1}}, "max_epoch"),
    ],
    ids=["argument", "class", "trainer"],
)
def test_a_mistake_in_the_configuration_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], message: str
) -> None:
    config = {"trainer": TRAINER, "model": model("TargetNetwork", n_outputs=17), "data": DATA, **change}
    line = ["--config", str(write(config, tmp_path / "c.yaml")), "--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as stop:
        fit.main(line)
    assert stop.value.code != 0
    assert message in " ".join(capsys.readouterr().err.split()), "one has to look up what it is called"


def bf16_hardware(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = torch.bfloat16 if there else None
    monkeypatch.setattr("experiments.study.precision.fast_dtype", lambda precision, device: fast)


@pytest.mark.parametrize(("hardware", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_bfloat16_is_trained_with_only_where_the_hardware_has_it(
    hardware: bool, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Emulated it takes ten times as long as float32: a demo of an afternoon."""
    bf16_hardware(hardware, monkeypatch)
    used: list[str] = []
    monkeypatch.setattr(fit, "learn", lambda trainer, *_: used.append(trainer.precision))
    config = fit_config(tmp_path / "c.yaml", model("TargetNetwork", n_outputs=17), precision="bf16-mixed")
    fit.main(["--config", str(config), "--output", str(tmp_path / "target")])
    assert used == [expected]
    found = json.loads((tmp_path / "target" / "fingerprint.json").read_text())
    assert found["content"]["trainer"]["precision"] == expected


def test_a_worker_that_cannot_train_in_the_precision_that_was_planned_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stage's key would name numbers of bfloat16 that were computed in float32."""
    bf16_hardware(False, monkeypatch)
    config = fit_config(tmp_path / "c.yaml", model("TargetNetwork", n_outputs=17), precision="bf16-mixed")
    with pytest.raises(SystemExit):
        fit.main(["--config", str(config), "--output", str(tmp_path / "target"), "--fall_back", "false"])
    message = " ".join(capsys.readouterr().err.split())
    assert "trainer.precision is bf16-mixed, which this machine would emulate" in message
    assert not (tmp_path / "target").exists()
