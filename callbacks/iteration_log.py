"""One line per iteration of a loop that runs inside `predict_step`, where `self.log` is not allowed."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from facecrafter.files import make_folder


class IterationLog(Callback):
    """Listens to a module's iterations: one CSV per rank under `logs/`, and rank 0 also tells the loggers.

    A module takes part by having `listeners`, a list of functions that it calls with a dict of numbers,
    `iteration` and `iterations` among them. The manifest batch's number is added. A resumed run appends.
    """

    CHANGES_NUMBERS = False

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.trainer = trainer
        self.path = Path(trainer.default_root_dir, "logs", f"iterations-rank{trainer.global_rank}.csv")
        self.columns: list[str] = []
        if self.path.is_file():
            with self.path.open(newline="") as file:
                self.columns = next(csv.reader(file), [])
        if hasattr(pl_module, "listeners"):
            pl_module.listeners.append(self.record)

    def on_predict_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: dict[str, Any], *_: int
    ) -> None:
        self.batch = batch["number"]

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if hasattr(pl_module, "listeners"):
            pl_module.listeners.remove(self.record)

    def record(self, numbers: dict[str, float]) -> None:
        """Append one iteration. The columns are those of the file's first line."""
        self._append({"batch": self.batch, **numbers})
        if self.trainer.is_global_zero:
            step = int(self.batch * numbers["iterations"] + numbers["iteration"])
            metrics = {f"protect/{name}": value for name, value in numbers.items()}
            for logger in self.trainer.loggers:
                logger.log_metrics(metrics, step=step)

    def _append(self, numbers: dict[str, float]) -> None:
        make_folder(self.path.parent)
        with self.path.open("a", newline="") as file:
            new = not self.columns
            self.columns = self.columns or list(numbers)
            writer = csv.DictWriter(file, self.columns, extrasaction="ignore")
            if new:
                writer.writeheader()
            writer.writerow(numbers)
