"""A progress bar that says how long the whole run still takes, not only the epoch in hand."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import TQDMProgressBar


class Clock:
    """Extrapolates the time left from the work done so far. Work has any unit; `total` is in the same."""

    def __init__(self, total: float, done: float = 0.0) -> None:
        self.total, self.first, self.start = total, done, time.monotonic()

    def left(self, done: float) -> str:
        """Time left as H:MM:SS after `done` units, '?' as long as nothing is done."""
        if done <= self.first:
            return "?"
        rate = (time.monotonic() - self.start) / (done - self.first)
        return str(timedelta(seconds=round(rate * max(self.total - done, 0))))


class TimeLeft(TQDMProgressBar):
    """Shows `left=H:MM:SS` for all epochs; while protecting also the iteration within the batch."""

    CHANGES_NUMBERS = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self.clock = Clock(trainer.max_epochs or 0, trainer.current_epoch)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        if trainer.training and self.clock.total > 0:
            batches = trainer.fit_loop.epoch_loop.batch_progress.current.completed
            epochs = trainer.current_epoch + batches / trainer.num_training_batches
            metrics["left"] = self.clock.left(epochs)
        return metrics

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_predict_start(trainer, pl_module)
        self.batches = sum(trainer.num_predict_batches)
        self.finished = 0
        self.clock = Clock(self.batches)
        if hasattr(pl_module, "listeners"):
            pl_module.listeners.append(self.show)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_predict_end(trainer, pl_module)
        if hasattr(pl_module, "listeners"):
            pl_module.listeners.remove(self.show)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        super().on_predict_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)
        self.finished += 1
        if outputs is None:  # A batch of an earlier run: it says nothing about the time the others take.
            self.clock = Clock(self.batches, self.finished)

    def show(self, numbers: dict[str, float]) -> None:
        """Show the iteration in hand and the time left for all batches."""
        done = self.finished + numbers["iteration"] / numbers["iterations"]
        self.predict_progress_bar.set_postfix(
            iteration=f"{numbers['iteration']:.0f}/{numbers['iterations']:.0f}", left=self.clock.left(done)
        )
