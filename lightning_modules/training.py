"""What trained modules share: their steps, schedules and averages, and what makes a run repeatable."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel

from facecrafter.batches import BATCH
from facecrafter.randomness import seed_of, seeded


class SeededBatches(LightningModule):
    """What is random in a training step follows from the run's seed, the epoch and the batch.

    So it does not matter who else drew before: the other players, sheets of images, a validation. That a
    resumed run draws what the unbroken one would have drawn, `callbacks.RandomState` sees to for all modules.
    """

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self._run_seed = torch.initial_seed()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        torch.manual_seed(seed_of(self._run_seed, 0, self.current_epoch, batch_idx))

    def drawn(self, most: int) -> Iterator[dict[str, Tensor]]:
        """At most so many pictures of the trainer's data, drawn by the run's seed, a few at a time."""
        faces = self.trainer.datamodule.train_dataloader().dataset
        chosen = torch.randperm(len(faces), generator=seeded(self._run_seed))[:most]
        return batches(self, faces, chosen)


class ClosedForm(LightningModule):
    """What is learnt has a closed form, solved at the end of an epoch from all of the data at once.

    The batches of an epoch leave out the pictures that fill none, which matters where there are few. On
    several devices each solves the same.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.automatic_optimization = False

    @abstractmethod
    def solve(self) -> None:
        """Learn from the trainer's data; what an epoch before learnt does not matter."""

    def configure_optimizers(self) -> None:
        """There is none."""

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Nothing: see `solve`."""

    @torch.no_grad()
    def on_train_epoch_end(self) -> None:
        self.solve()


def batches(module: LightningModule, dataset: Any, positions: Tensor) -> Iterator[dict[str, Tensor]]:
    """What a dataset of faces or pairs has at these positions (N,), a few at a time, as the module's batches
    come."""
    strategy = module.trainer.strategy
    for part in positions.split(BATCH):
        batch = strategy.batch_to_device(dataset.__getitems__(part.tolist()))
        yield strategy.precision_plugin.convert_input(batch)


def descend(module: LightningModule, loss: Tensor, optimizer: Optimizer) -> None:
    """One step of one of the module's optimizers down the loss."""
    optimizer.zero_grad()
    module.manual_backward(loss)
    optimizer.step()


def one_cycle(module: LightningModule, optimizer: Optimizer) -> dict[str, Any]:
    """What `configure_optimizers` returns for one cycle over all steps of the fit (Smith and Topin 2019).

    The optimizer's learning rate is the peak.

    Raises:
        ValueError: nobody knows how many steps there will be.
    """
    steps = module.trainer.estimated_stepping_batches
    if math.isinf(steps):
        raise ValueError(
            f"{type(module).__name__} lays its learning rate out over the whole training: set max_epochs or "
            "max_steps, beside max_time if there is one"
        )
    schedule = OneCycleLR(optimizer, optimizer.defaults["lr"], int(steps))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def moving_average(network: nn.Module, decay: float) -> AveragedModel:
    """An average of the network's weights and buffers, frozen; `update_parameters` after every step.

    Early on its memory is short, whatever the `decay`: the first weights are noise.
    """
    # Buffers too: averaged weights under the last batch's statistics would be another network.
    average = AveragedModel(network, avg_fn=partial(_lerp, decay), use_buffers=True)
    average.requires_grad_(False)
    return average


def _lerp(decay: float, average: Tensor, current: Tensor, updates: Tensor) -> Tensor:
    if not current.is_floating_point():
        return current
    # After t updates at most (1 + t) / (10 + t): a mean over the last few steps at first.
    decay = min(decay, float((1 + updates) / (10 + updates)))
    return average.lerp(current.to(average.dtype), 1 - decay)
