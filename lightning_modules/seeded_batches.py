"""Training that ends in the same place whether or not it was interrupted."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import LightningModule

from facecrafter.randomness import seed_of


class SeededBatches(LightningModule):
    """What is random in a training step follows from the run's seed, the rank, the epoch and the batch.

    Lightning's checkpoints hold no random state: without this, a run that goes on from a checkpoint would
    drop out other units and draw other numbers than the unbroken one.
    """

    def on_fit_start(self) -> None:
        self._run_seed = torch.initial_seed()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        torch.manual_seed(seed_of(self._run_seed, self.global_rank, self.current_epoch, batch_idx))
