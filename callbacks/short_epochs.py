"""Short trainings are logged, too."""

from __future__ import annotations

from pytorch_lightning import Callback, LightningModule, Trainer


class ShortEpochs(Callback):
    """Has losses logged at least once an epoch, where it has fewer batches than `log_every_n_steps`."""

    CHANGES_NUMBERS = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        batches = trainer.num_training_batches
        if 0 < batches < trainer.log_every_n_steps:
            trainer.log_every_n_steps = int(batches)
