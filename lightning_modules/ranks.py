"""What the ranks of one run must not share."""

from __future__ import annotations

import torch
from pytorch_lightning import LightningModule


def draw_apart(module: LightningModule) -> None:
    """Gives every rank but the first random numbers of its own, as long as `module` is fitted.

    The ranks share the run's seed. Left alone, all would vary their own images in the same way and draw the
    same latents: a batch on two ranks would be less random than the same batch on one. The first rank, and
    so a run without DDP, keeps its numbers.
    """
    if module.global_rank > 0:
        torch.manual_seed(torch.initial_seed() + module.global_rank)
