"""A callback that ends a training in the middle of an epoch."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class Killer(Callback):
    """Ends the process in the middle of an epoch: by an exception, or as a power cut would."""

    CHANGES_NUMBERS = False

    def __init__(self, epoch: int = 1, hard: bool = False) -> None:
        self.epoch, self.hard = epoch, hard

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.current_epoch == self.epoch and batch_idx == 1:
            if self.hard:
                os.kill(os.getpid(), signal.SIGKILL)
            raise SystemExit("killed")


class Sleeper(Callback):
    """Notes the process of each rank in the run's folder, and then trains no more."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        note = Path(trainer.default_root_dir, f"rank{trainer.global_rank}.pid")
        note.write_text(str(os.getpid()))
        time.sleep(600)
