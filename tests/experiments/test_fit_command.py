"""`python -m experiments.fit` as a user runs it: what it leaves behind, resumed, and on two processes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import Command
from tiny_study import DATA, TRAINER, model, write

from facecrafter.store import TensorStore

DEFENCES = Path(__file__).parents[1] / "external_defences"


def fit_config(path: Path, module: dict[str, Any], **trainer: Any) -> Path:
    return write({"trainer": {**TRAINER, **trainer}, "model": module, "data": DATA}, path)


@pytest.fixture(scope="module")
def target(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of a trained target network."""
    folder = tmp_path_factory.mktemp("target")
    config = fit_config(folder / "fit.yaml", model("TargetNetwork", n_outputs=17))
    result = command("fit", "--config", config, "--output", folder)
    assert result.returncode == 0, result.stderr
    return folder


def features(folder: Path) -> dict[str, torch.Tensor]:
    return TensorStore.open(folder / "features").load("row", "features")


def test_every_image_is_protected_once_whatever_the_number_of_processes(
    command: Command, tmp_path: Path, target: Path
) -> None:
    """Killed and resumed, or shared by two ranks: the features are bit for bit the same."""
    config = fit_config(tmp_path / "noise.yaml", model("gaussian_noise.GaussianNoise", target=str(target)))
    assert yaml.safe_load((target / "config.yaml").read_text())["model"]["class_path"].endswith(
        "TargetNetwork"
    )
    assert torch.load(target / "last.ckpt", weights_only=True)["epoch"] == 0
    one, two = tmp_path / "one", tmp_path / "two"
    result = command("fit", "--config", config, "--output", one, path=DEFENCES)
    assert result.returncode == 0, result.stderr
    alone = features(one)
    assert len(alone["row"]) == len(alone["row"].unique()) == 4

    next((one / "features").glob("*.safetensors")).unlink()
    kept = {file.name: file.stat().st_mtime_ns for file in (one / "features").glob("*.safetensors")}
    assert command("fit", "--config", config, "--output", one, path=DEFENCES).returncode == 0
    resumed = features(one)
    assert all((one / "features" / name).stat().st_mtime_ns == time for name, time in kept.items())

    ranks = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
    result = command("fit", "--config", config, "--output", two, *ranks, path=DEFENCES)
    assert result.returncode == 0, result.stderr
    for other in (resumed, features(two)):
        assert torch.equal(other["row"], alone["row"])
        assert torch.equal(other["features"], alone["features"])


def test_a_training_goes_on_from_its_last_epoch(command: Command, tmp_path: Path, target: Path) -> None:
    target = Path(shutil.copytree(target, tmp_path / "target"))
    before = torch.load(target / "last.ckpt", weights_only=True)
    config = fit_config(tmp_path / "more.yaml", model("TargetNetwork", n_outputs=17), max_epochs=2)
    result = command("fit", "--config", config, "--output", target)
    assert result.returncode == 0, result.stderr
    after = torch.load(target / "last.ckpt", weights_only=True)
    assert after["epoch"] == 1
    assert after["global_step"] == 2 * before["global_step"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": model("TargetNetwork", n_outputs=17, archh="resnet18")}, "archh"),
        ({"model": model("NoSuchNetwork")}, "NoSuchNetwork"),
        ({"trainer": {"max_epoch": 1}}, "max_epoch"),
    ],
    ids=["argument", "class", "trainer"],
)
def test_a_mistake_in_the_configuration_is_named(
    command: Command, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    config = {"trainer": TRAINER, "model": model("TargetNetwork", n_outputs=17), "data": DATA, **change}
    result = command("fit", "--config", write(config, tmp_path / "c.yaml"), "--output", tmp_path / "out")
    assert result.returncode != 0
    assert message in result.stderr
