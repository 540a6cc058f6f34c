"""A training that was killed draws the random numbers that it would have drawn."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

State = dict[str, Any]


class RandomState(Callback):
    """Keeps the state of every random generator, at the end of each epoch, in the checkpoint.

    Each epoch but the first begins with the state that the one before ended with, whether the run was killed
    in between or not, and a validation with the one after the last training batch. So it does not matter
    what is drawn in between, which depends on the number of the loader's workers and on resuming.

    These generators are kept, for each rank: torch's own (CPU, and the GPU that is trained on), those of
    Python and numpy, and every `torch.Generator` that is an attribute of the module.
    """

    def __init__(self) -> None:
        self.ranks: list[State] = []

    def state_dict(self) -> dict[str, Any]:
        return {"ranks": self.ranks}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.ranks = state_dict["ranks"]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        own = random_state(pl_module)
        self.ranks = [own]
        if trainer.world_size > 1:
            self.ranks = [{}] * trainer.world_size
            torch.distributed.all_gather_object(self.ranks, own)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0 and trainer.global_rank < len(self.ranks):
            start_loader(self.ranks[trainer.global_rank], pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.trained = random_state(pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            start_loader(self.trained, pl_module)


def start_loader(state: State, module: LightningModule) -> None:
    """Take over `state`, and draw what a loader without workers draws when it starts: a seed for them."""
    set_random_state(state, module)
    torch.empty((), dtype=torch.int64).random_()


def random_state(module: LightningModule) -> State:
    """The states of all generators, as tensors and plain numbers."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 - a user's module may draw from it
    state = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": (name, keys.tolist(), *rest),
        "module": {name: rng.get_state() for name, rng in _generators(module).items()},
    }
    if module.device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(module.device)
    return state


def set_random_state(state: State, module: LightningModule) -> None:
    """Take over the states that `random_state` returned."""
    torch.set_rng_state(state["torch"].cpu())
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    generators = _generators(module)
    for name, value in state["module"].items():
        if name in generators:
            generators[name].set_state(value.cpu())
    if "cuda" in state and module.device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"].cpu(), module.device)


def _generators(module: LightningModule) -> dict[str, torch.Generator]:
    return {name: value for name, value in vars(module).items() if isinstance(value, torch.Generator)}
