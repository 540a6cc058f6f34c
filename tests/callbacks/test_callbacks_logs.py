"""Callbacks on a module that does nothing but count."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import DataLoader

from callbacks import ImageGrid, IterationLog, TimeLeft
from callbacks.time_left import Clock


class Counter(LightningModule):
    """Announces three iterations for every batch, and learns one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.listeners: list[Callable[[dict[str, float]], None]] = []

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        for iteration in range(1, 4):
            for listen in self.listeners:
                listen({"iteration": iteration, "iterations": 3, "privacy_loss": 0.5})

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        return self.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)

    def example_images(self, batch: dict[str, Any]) -> torch.Tensor:
        return torch.full((4, 3, 8, 8), 0.5)


def trainer(folder: Path, *callbacks: Any, **options: Any) -> Trainer:
    return Trainer(
        accelerator="cpu", default_root_dir=folder, callbacks=list(callbacks), enable_model_summary=False,
        enable_checkpointing=False, **{"logger": False, **options},
    )  # fmt: skip


def batches() -> DataLoader[Any]:
    return DataLoader([{"number": 7}, {"number": 2}], batch_size=None)


def test_every_iteration_is_one_line_and_a_second_run_appends(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="logs", flush_logs_every_n_steps=1)
    module = Counter()
    for _ in range(2):
        trainer(tmp_path, IterationLog(), TimeLeft(), logger=logger).predict(
            module, batches(), return_predictions=False
        )
    lines = list(csv.DictReader((tmp_path / "logs" / "iterations-rank0.csv").open()))
    assert [(line["batch"], line["iteration"]) for line in lines] == 2 * [(b, i) for b in "72" for i in "123"]
    assert "protect/privacy_loss" in Path(logger.log_dir, "metrics.csv").read_text()
    assert module.listeners == []


def test_sheets_are_written_every_n_epochs_and_stay_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytorch_lightning.loggers import WandbLogger

    uploaded: list[str] = []
    monkeypatch.setattr(WandbLogger, "log_image", lambda self, key, images, step: uploaded.extend(images))
    monkeypatch.setattr(WandbLogger, "experiment", None)
    data = DataLoader([{"number": 1}], batch_size=None)
    for upload in (False, True):
        run = trainer(tmp_path, ImageGrid(2, upload_images=upload), max_epochs=3)
        run.loggers = [WandbLogger(save_dir=tmp_path, offline=True)]
        monkeypatch.setattr(run.loggers[0], "log_metrics", lambda *_, **__: None)
        monkeypatch.setattr(run.loggers[0], "log_hyperparams", lambda *_, **__: None)
        monkeypatch.setattr(run.loggers[0], "log_graph", lambda *_, **__: None)
        assert uploaded == []
        run.fit(Counter(), data)
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == [
        "epoch-00000.png",
        "epoch-00002.png",
    ]
    assert Image.open(tmp_path / "images" / "epoch-00000.png").mode == "RGB"
    assert len(uploaded) == 2


def test_the_clock_counts_only_the_work_of_this_run(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("callbacks.time_left.time.monotonic", lambda: now[0])
    clock = Clock(total=10, done=4)
    assert clock.left(4) == "?"
    now[0] += 60
    assert clock.left(6) == "0:02:00"
