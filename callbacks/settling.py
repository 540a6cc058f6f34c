"""Whether a game between networks has come to rest."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason
from pytorch_lightning.utilities.rank_zero import rank_zero_only, rank_zero_warn

from facecrafter.files import write_whole

CHANGE = "game/change"
SETTLED = 0.05
"""A game has settled when nothing that it is about changes by more than this share."""
NOT_STOPPED = EarlyStoppingReason.NOT_STOPPED
SHORTEST = 2
"""Epochs that are compared with as many before, at least: a game of two turns has both in them."""
FALLEN = 0.1
"""A mean that has fallen below this share of its first epoch's counts by that: of a loss of a thousandth it
says nothing that it doubles."""


class Settling(Callback):
    """Compares what a game is about in the last quarter of its epochs with the quarter before.

    A module takes part by having `noted`, {'train/task': this epoch's values, batch by batch, ...}, none of
    which is negative. What is noted in validation ('val/task'), of people who are held out, goes before what
    is noted in training. Logged are each epoch's means and, once there are enough, `game/change`: the largest
    relative change of a mean from quarter to quarter, now or at any epoch of the last half. In quarters, as
    a game of ten times as many epochs may be ten times as slow; for as long again, since over a few epochs a
    slow one hardly changes. A training that ends above `SETTLED` ends with a warning.

    To end it when it has settled, give the Trainer Lightning's EarlyStopping; docs/fits.md has the lines.

    The means are also written to `logs/settling.csv`, a line for each epoch.
    """

    CHANGES_NUMBERS = False

    def __init__(self) -> None:
        self.history: list[dict[str, float]] = []

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history = state_dict["history"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # One that was stopped, and killed before it had protected, would go on for an epoch.
        stopped = [one for one in trainer.early_stopping_callbacks if one.stopping_reason != NOT_STOPPED]
        if any(one.stopped_epoch + 1 == trainer.current_epoch for one in stopped):
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        noted: dict[str, list[torch.Tensor]] = getattr(pl_module, "noted", {})
        means = {
            name: float(trainer.strategy.reduce(torch.stack(values).float().mean(), reduce_op="mean"))
            for name, values in noted.items()
        }
        if not means:
            return
        line = {"epoch": trainer.current_epoch, **means}
        change = largest_change([*self.history, line])
        self.history.append(line | {"change": change})
        pl_module.log_dict(means, sync_dist=True)
        if not math.isnan(change):
            pl_module.log(CHANGE, change, prog_bar=True, sync_dist=True)
        self._write(Path(trainer.default_root_dir, "logs", "settling.csv"))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.history:
            return
        change = self.history[-1]["change"]
        if not change <= SETTLED:
            known = "too few epochs to tell" if math.isnan(change) else f"still changing by {change:.0%}"
            rank_zero_warn(
                f"{type(pl_module).__name__} ended after {len(self.history)} epochs before its game had "
                f"settled ({known}): raise max_epochs, or do not take it for the method at its strength"
            )

    @rank_zero_only
    def _write(self, path: Path) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(dict.fromkeys(name for line in self.history for name in line)))
        writer.writeheader()
        writer.writerows(self.history)
        write_whole(path, text.getvalue())


def largest_change(history: Sequence[dict[str, float]]) -> float:
    """Of the means of each epoch: the largest relative change from the last quarter but one to the last, at
    any epoch of the last half; NaN before there are sixteen."""
    names = {name for line in history for name in line} - {"epoch", "change"}
    held_out = {name for name in names if name.startswith("val/")}
    changes = [_lately([line[name] for line in history if name in line]) for name in held_out or names]
    return math.nan if any(map(math.isnan, changes)) else max(changes, default=math.nan)


def _lately(values: Sequence[float]) -> float:
    changes = [_change(values[:epochs]) for epochs in range(len(values) // 2, len(values) + 1)]
    return math.nan if any(map(math.isnan, changes)) else max(changes)


def _change(values: Sequence[float]) -> float:
    window = len(values) // 4
    window -= window % 2  # as many epochs of one turn as of the other
    if window < SHORTEST:
        return math.nan
    before, last = (sum(part) / window for part in (values[-2 * window : -window], values[-window:]))
    scale = max(before, FALLEN * values[0])
    return 0.0 if last == before else abs(last - before) / scale if scale else math.inf
