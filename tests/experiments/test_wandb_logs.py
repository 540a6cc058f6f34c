"""What a fit sends to Weights & Biases: numbers, and images of faces only when they are asked for."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
import yaml
from conftest import ROOT, Command
from pytorch_lightning.loggers import WandbLogger
from tiny_study import DATA, TRAINER, model, write
from wandb.proto.wandb_internal_pb2 import Record

from experiments import fit

pytestmark = pytest.mark.filterwarnings("ignore:LightningCLI's args parameter", "ignore:Checkpoint directory")


class Run:
    """Stands for a wandb run and keeps what it is told."""

    def __init__(self) -> None:
        self.logged: list[dict[str, Any]] = []
        self.configured: list[dict[str, Any]] = []
        self.sent: list[tuple[Any, ...]] = []
        self.finished = 0
        self.config = self

    def log(self, values: dict[str, Any]) -> None:
        self.logged.append(values)

    def update(self, values: dict[str, Any], **_: Any) -> None:
        self.configured.append(values)

    def log_artifact(self, path: Path, type: str) -> None:
        self.sent.append((path, type))

    def finish(self) -> None:
        self.finished += 1

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the fit calls {name} of the run: does it upload something?")


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Run:
    run = Run()
    monkeypatch.setattr(WandbLogger, "experiment", run)
    return run


def fitted(folder: Path, module: dict[str, Any], *options: str, **init_args: Any) -> Path:
    """Runs a fit with the loggers of wandb.yaml. `init_args` go to that of W&B."""
    loggers = yaml.safe_load((ROOT / "experiments" / "configs" / "wandb.yaml").read_text())["trainer"]
    loggers["logger"][1]["init_args"] |= init_args
    content = {"trainer": TRAINER | loggers | {"log_every_n_steps": 1}, "model": module, "data": DATA}
    config = write(content, folder / "fit.yaml")
    fit.main(["--config", str(config), "--output", str(folder / "out"), *options])
    return folder / "out"


PRIOR = model("Prior", image_size=32, latent_dim=8, width=4, critic_width=4)


def numbers_only(run: Run) -> bool:
    return all(isinstance(value, int | float) for values in run.logged for value in values.values())


def test_training_logs_numbers_and_keeps_faces_here(recorded: Run, tmp_path: Path) -> None:
    output = fitted(tmp_path, PRIOR)
    names = {name for values in recorded.logged for name in values}
    assert {"train/emd", "val/emd", "epoch", "trainer/global_step"} <= names
    assert numbers_only(recorded)
    assert list((output / "images").iterdir())
    (told,) = recorded.configured
    assert told["model"]["init_args"]["learning_rate"] == 4e-4, "a run is found by what it was trained with"
    assert str(tmp_path) not in str(told), "the configuration names folders of private pictures"
    assert recorded.sent == []
    assert recorded.finished == 1, "what is not finished may lose its last records when the process ends"


def test_images_are_uploaded_when_asked_for(
    recorded: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb, "Image", lambda path, **_: ("image", path))
    fitted(tmp_path, PRIOR, "--image_grid.upload_images=true")
    sheets = [values["examples"] for values in recorded.logged if "examples" in values]
    assert sheets == [[("image", str(tmp_path / "out" / "images" / "epoch-00000.png"))]]


def test_weights_are_uploaded_when_asked_for_and_no_checkpoint(recorded: Run, tmp_path: Path) -> None:
    """Lightning would send `last.ckpt`, which holds folders and the optimizer's state, too."""
    output = fitted(tmp_path, PRIOR, log_model=True)
    assert recorded.sent == [(output / "weights.safetensors", "model")]
    assert yaml.safe_load((output / "config.yaml").read_text())["trainer"]["logger"][1]["init_args"][
        "log_model"
    ]


def test_protecting_logs_iterations_without_saying_whose(recorded: Run, tmp_path: Path) -> None:
    (tmp_path / "prior").mkdir()
    (tmp_path / "target").mkdir()
    small = {"iterations": 2, "inner": {"first": 2, "starts": 1}, "critic": {"steps": 1, "width": 4}}
    artifacts = {
        "prior": fitted(tmp_path / "prior", PRIOR),
        "target": fitted(tmp_path / "target", model("TargetNetwork", n_outputs=17, arch="resnet18_quarter")),
    }
    recorded.logged.clear()
    fitted(tmp_path, model("Crafter", **{name: str(path) for name, path in artifacts.items()}, **small))
    assert len(recorded.logged) == 2 * 2, "two batches of two iterations"
    assert numbers_only(recorded)
    names = {name for values in recorded.logged for name in values} - {"trainer/global_step"}
    assert "protect/privacy_loss" in names
    assert all(name.startswith("protect/") for name in names)
    assert not any(word in name for name in names for word in ("row", "identity", "image"))


def test_what_is_kept_offline_stays_in_the_folder_of_the_run(command: Command, tmp_path: Path) -> None:
    """Its numbers, what it was trained with, and the losses of epochs that are shorter than 50 batches."""
    network = model("TargetNetwork", n_outputs=17, arch="resnet18_quarter")
    content = {"trainer": {**TRAINER}, "model": network, "data": DATA}
    del content["trainer"]["logger"]
    line, output, home = write(content, tmp_path / "c.yaml"), tmp_path / "run", tmp_path / "home"
    home.mkdir()
    (home / "tmp").mkdir()
    result = command("fit", "--config", line, "--output", output, HOME=home, TMPDIR=home / "tmp")
    assert result.returncode == 0, result.stderr
    assert [path for path in home.rglob("*wandb*") if path.is_file()] == []
    (file,) = output.glob("wandb/offline-run-*/*.wandb")
    records = list(records_of(file))
    logged = {item.nested_key[0] or item.key for record in records for item in record.history.item}
    kinds = Counter(record.WhichOneof("record_type") for record in records)
    assert {"train/loss", "val/loss"} <= logged, f"{kinds}\n{result.stderr}"
    told = " ".join(item.value_json for record in records for item in record.config.update)
    assert '"learning_rate":0.002' in told.replace(" ", "")
    assert str(tmp_path) not in told


def test_disabled_is_disabled(recorded: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning's logger would forget it, being told to stay offline."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    fitted(tmp_path, PRIOR)
    assert recorded.logged == recorded.configured == []


def records_of(file: Path) -> Iterator[Any]:
    """The records of a run that was kept offline: LevelDB's log format, of 32 KiB blocks, behind 7 bytes."""
    content, record, place = file.read_bytes(), b"", 7
    while place < len(content):
        left = 2**15 - place % 2**15
        if left < 7:
            place += left  # padding
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(record)
            record = b""
