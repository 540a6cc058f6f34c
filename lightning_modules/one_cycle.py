"""How most networks here are trained: at a rate that rises once and falls once."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import LightningModule
from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR


def one_cycle(module: LightningModule, optimizer: Optimizer) -> dict[str, Any]:
    """What `configure_optimizers` returns for one cycle over all steps of the fit (Smith and Topin 2019).

    The optimizer's learning rate is the peak.
    """
    steps = int(module.trainer.estimated_stepping_batches)
    schedule = OneCycleLR(optimizer, optimizer.defaults["lr"], steps)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
