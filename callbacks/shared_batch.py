"""Several devices share the batch that the configuration names: the weights are those of one device."""

from __future__ import annotations

from pytorch_lightning import Callback, LightningModule, Trainer

from callbacks.random_state import global_state, set_global_state
from facecrafter import ranks
from facecrafter.nets.shared import share_layers, unshare_layers


class SharedBatch(Callback):
    """Tells the ranks of a training which rows of each batch they have; see `facecrafter.ranks`.

    Validation is not shared: every rank validates all images, so that as many random numbers are drawn as on
    one device. Neither is protecting, whose batches are the manifest's.
    """

    def __init__(self) -> None:
        # Lightning seeds ranks anew when it starts them; one process goes on from what the module has drawn.
        self.state = global_state()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.world_size > 1:
            set_global_state(self.state)
            share_layers(pl_module)
            ranks.work_as(ranks.Share(trainer.global_rank, trainer.world_size))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.share = ranks.current()
        ranks.work_as(ranks.WHOLE)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        ranks.work_as(self.share)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        ranks.work_as(ranks.WHOLE)
        unshare_layers(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        ranks.work_as(ranks.WHOLE)
