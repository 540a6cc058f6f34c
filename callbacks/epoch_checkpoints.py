"""Weights of chosen epochs, for curves over a training's course."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint


class EpochCheckpoints(Checkpoint):
    """Writes the weights after each of the given epochs to `epoch=K.ckpt` in the run's folder.

    Being a Checkpoint, it comes after the module's own end of the epoch, where some keep their best weights.

    They stand beside last.ckpt and are named like it wherever a network is named: `runs/a1/epoch=10.ckpt`.

    Args:
        epochs: numbers K of finished epochs; 0 keeps the weights that training starts from.
    """

    CHANGES_NUMBERS = False

    def __init__(self, epochs: Sequence[int] = ()) -> None:
        self.epochs = frozenset(epochs)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        last = math.inf if trainer.max_epochs in (None, -1) else trainer.max_epochs
        if beyond := [epoch for epoch in sorted(self.epochs) if not 0 <= epoch <= last]:
            raise ValueError(f"epoch {beyond[0]} is to be kept, but max_epochs is {last}")
        if trainer.current_epoch == 0:
            self._keep(trainer, 0)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._keep(trainer, trainer.current_epoch + 1)

    def _keep(self, trainer: Trainer, epoch: int) -> None:
        if epoch in self.epochs:  # on every rank: saving is collective
            trainer.save_checkpoint(Path(trainer.default_root_dir, f"epoch={epoch}.ckpt"), weights_only=True)
