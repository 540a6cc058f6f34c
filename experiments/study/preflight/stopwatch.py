"""What the steps of a trial take, noted where the trial leaves the rest."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from datamodules.faces import FaceDataModule
from datamodules.sample import SampleFaces
from facecrafter.files import write_whole

FILE = "stopwatch.json"
BUDGET = 2.0
"""Seconds of training in an epoch after which it ends, if it has a few batches; much later if it has two."""


def sample_of(data: Any) -> SampleFaces | None:
    """The sample that a datamodule is or wraps."""
    while data is not None and not isinstance(data, SampleFaces):
        data = getattr(data, "data", None)
    return data


class Stopwatch(Callback):
    """Times batches, and the iterations within a batch that is protected; cuts an epoch short after `BUDGET`.

    Leaves stopwatch.json: `train`, seconds of each batch by epoch; `val` and `predict`, of each batch;
    `iteration`, of one within a batch; `batches`, how many an epoch of all the data has; and `val_batches`.
    """

    def __init__(self) -> None:
        self.train: dict[int, list[float]] = defaultdict(list)
        self.seconds: dict[str, list[float]] = {"val": [], "predict": [], "iteration": []}
        self.full: dict[str, float] = {"batches": 0, "val_batches": 0}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it
        if (sample := sample_of(data)) is None:
            return
        share = sample.full_size("public_val") / max(1, len(sample.faces("public_val")))
        self.full["val_batches"] = share * sum(trainer.num_val_batches)
        if isinstance(data, FaceDataModule):
            sizes = [sample.full_size(role) for role in sample._fit_roles]
            self.full["batches"] = sum(sizes) / len(sizes) // sample.batch_size
        else:  # pairs, made of what was protected
            share = sample.full_protected() / len(sample.protected_faces())
            self.full["batches"] = share * len(data.train) // sample.batch_size

    def on_train_batch_start(  # type: ignore[override]  # Lightning reads what it returns
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> int | None:
        done = self.train[trainer.current_epoch]
        if (len(done) > 4 and sum(done) > BUDGET) or (len(done) > 1 and sum(done) > 4 * BUDGET):
            return -1  # Lightning's way to end an epoch
        self.start = time.monotonic()
        return None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.train[trainer.current_epoch].append(time.monotonic() - self.start)

    def on_validation_batch_start(self, *args: Any, **kwargs: Any) -> None:
        self.start = time.monotonic()

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self.seconds["val"].append(time.monotonic() - self.start)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.announced: float | None = None
        if hasattr(pl_module, "listeners"):
            pl_module.listeners.append(self._iterated)

    def on_predict_batch_start(self, *args: Any, **kwargs: Any) -> None:
        self.start, self.announced = time.monotonic(), None

    def on_predict_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self.seconds["predict"].append(time.monotonic() - self.start)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer)

    def _iterated(self, numbers: dict[str, float]) -> None:
        now = time.monotonic()
        if self.announced is not None:
            self.seconds["iteration"].append(now - self.announced)
        self.announced = now

    def _write(self, trainer: Trainer) -> None:
        content = {"train": list(self.train.values()), **self.seconds, **self.full}
        write_whole(Path(trainer.default_root_dir, FILE), json.dumps(content))
