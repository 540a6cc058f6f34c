"""Loggers that are Lightning's own, not W&B's: what a fit tells them is there to be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonargparse import Namespace
from tiny_study import DATA, TRAINER, model, write

from experiments import fit
from experiments.loggers import senders

pytestmark = pytest.mark.filterwarnings("ignore:LightningCLI's args parameter", "ignore:Checkpoint directory")


def fitted(folder: Path, logger: str, **init_args: Any) -> Path:
    """Fits the smallest network with one of Lightning's loggers."""
    section = model(f"pytorch_lightning.loggers.{logger}", **init_args)
    trainer = TRAINER | {"logger": section, "log_every_n_steps": 1}
    content = {"trainer": trainer, "model": model("TargetNetwork", arch="resnet18_quarter"), "data": DATA}
    fit.main(["--config", str(write(content, folder / "fit.yaml")), "--output", str(folder / "out")])
    return folder / "out"


def test_only_loggers_that_are_asked_to_send_weights() -> None:
    """A logger may have no arguments, be true or false, or never have heard of `log_model`."""
    plain, silent = Namespace(class_path="a.Plain"), Namespace(class_path="a.B", init_args=Namespace(x=1))
    asked = Namespace(class_path="c.Asked", init_args=Namespace(log_model=True))
    assert senders([True, plain, silent, asked]) == {"Asked"}


def test_tensorboard_shows_losses_and_hyperparameters(tmp_path: Path) -> None:
    reading = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="pip install -e '.[loggers]'"
    )
    output = fitted(tmp_path, "TensorBoardLogger", save_dir=".")
    (file,) = output.rglob("events.out.tfevents.*")
    events = reading.EventAccumulator(str(file.parent))
    events.Reload()
    assert {"train/loss", "val/loss"} <= set(events.Tags()["scalars"])
    told = (file.parent / "hparams.yaml").read_text()
    assert "learning_rate: 0.002" in told
    assert str(tmp_path) not in told, "the configuration names folders of private pictures"


def test_mlflow_shows_losses_and_hyperparameters_and_gets_weights_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="pip install -e '.[loggers]'")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    output = fitted(tmp_path, "MLFlowLogger", log_model=True)
    client = mlflow.MlflowClient((output / "mlruns").as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("lightning_logs").experiment_id])
    assert {"train/loss", "val/loss"} <= run.data.metrics.keys()
    assert run.data.params["model/init_args/learning_rate"] == "0.002"
    assert str(tmp_path) not in str(run.data.params)
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["weights.safetensors"]
