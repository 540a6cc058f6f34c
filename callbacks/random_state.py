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

    These generators are kept: torch's own (CPU, and the GPU that is trained on), those of Python and numpy,
    and every `torch.Generator` that is an attribute of the module. They are in one state on all ranks (see
    `facecrafter.ranks`), so the training may go on with another number of devices.
    """

    CHANGES_NUMBERS = False

    def __init__(self) -> None:
        self.ended: State | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"ended": self.ended}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.ended = state_dict["ended"]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.ended = random_state(pl_module)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0 and self.ended is not None:
            start_loader(self.ended, pl_module)

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
    state = global_state()
    state["module"] = {name: rng.get_state() for name, rng in _generators(module).items()}
    if module.device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(module.device)
    return state


def set_random_state(state: State, module: LightningModule) -> None:
    """Take over the states that `random_state` returned."""
    set_global_state(state)
    generators = _generators(module)
    for name, value in state["module"].items():
        if name in generators:
            generators[name].set_state(value.cpu())
    if "cuda" in state and module.device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"].cpu(), module.device)


def global_state() -> State:
    """The states of the generators that everybody draws from, on the processor."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 - a user's module may draw from it
    numpy = (name, keys.tolist(), *rest)
    return {"torch": torch.get_rng_state(), "python": random.getstate(), "numpy": numpy}


def set_global_state(state: State) -> None:
    """Take over the states that `global_state` returned."""
    torch.set_rng_state(state["torch"].cpu())
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002


def _generators(module: LightningModule) -> dict[str, torch.Generator]:
    return {name: value for name, value in vars(module).items() if isinstance(value, torch.Generator)}
