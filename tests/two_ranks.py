"""Several fits on two gloo ranks, in one pair of processes: importing Lightning takes longer than they do.

    python two_ranks.py CONFIG OUTPUT [CONFIG OUTPUT ...]

Lightning starts the second rank by running this line again, as it does for `python -m experiments.fit`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from facecrafter.store import content_hash


class Witness(Callback):
    """Writes `rank<r>.json` into the run's folder: what a rank was given, drew, lost and ended with."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epochs: list[list[int]] = []  # the rows of each
        self.losses: list[float] = []
        self.draws = torch.rand(3, generator=torch.default_generator.clone_state()).tolist()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epochs.append([])

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: dict[str, Tensor],
        batch_idx: int,
    ) -> None:
        self.epochs[-1] += batch["row"].tolist()
        self.losses += [
            value.item() for name, value in trainer.callback_metrics.items() if name == "train/loss"
        ]

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = trainer.callback_metrics.items()
        report = {
            "epochs": self.epochs,
            "losses": self.losses,
            "draws": self.draws,
            "weights": content_hash(dict(pl_module.named_parameters())),
            "validation": {name: value.item() for name, value in metrics if name.startswith("val/")},
        }
        Path(trainer.default_root_dir, f"rank{trainer.global_rank}.json").write_text(json.dumps(report))


class Head(nn.Sequential):
    """Logits of 17 attributes without batch norm, whose statistics would tell two ranks from one."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(4 * 8 * 8, 17))


if __name__ == "__main__":
    from experiments import fit

    for config, output in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        fit.main(["--config", config, "--output", output])
