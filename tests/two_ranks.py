"""Several fits, on as many ranks as they ask for, in one set of processes: importing takes the most time.

    python two_ranks.py CONFIG OUTPUT [CONFIG OUTPUT ...]

Lightning starts the second rank by running this line again, as it does for `python -m experiments.fit`. All
is computed in float64, where what a training makes of rounding errors is too little to be seen.
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
from lightning_modules.artifacts import Frozen


class Witness(Callback):
    """Writes `rank<r>.json` into the run's folder: which images a rank was given, and what it ended with."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for value in vars(pl_module).values():  # the Trainer's precision is that of the module's own networks
            if isinstance(value, Frozen):
                value.on(pl_module.device).double()
        torch.set_default_dtype(torch.float64)  # Lightning does so for the steps, but not for what is shown

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.batches: list[list[int]] = []  # the rows of each

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: dict[str, Tensor],
        batch_idx: int,
    ) -> None:
        self.batches.append(batch["row"].tolist())

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        torch.set_default_dtype(torch.float32)  # for the data of the next fit

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = trainer.callback_metrics.items()
        report = {
            "batches": self.batches,
            "weights": content_hash(dict(pl_module.named_parameters())),
            "validation": {name: value.item() for name, value in metrics if name.startswith("val/")},
        }
        Path(trainer.default_root_dir, f"rank{trainer.global_rank}.json").write_text(json.dumps(report))


class Head(nn.Sequential):
    """Logits of 17 attributes."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(4 * 8 * 8, 17))


if __name__ == "__main__":
    import pytest
    from toy_rivals import shrink_rivals, small_tail

    from experiments import fit
    from lightning_modules import Defence

    def protect_in_float64(self: Defence, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return predict(self, batch | {"image": batch["image"].double()}, batch_idx)

    predict, Defence.predict_step = Defence.predict_step, protect_in_float64
    shrink_rivals(pytest.MonkeyPatch(), small_tail)
    # Modules ask for float32 where bfloat16 would do.
    Tensor.float = lambda x: x if x.dtype == torch.float64 else x.to(torch.float32)  # type: ignore
    for config, output in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        fit.main(["--config", config, "--output", output])
