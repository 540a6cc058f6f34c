"""A1: what an attacker gains by training on protected features, epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterator

from experiments.report.analysis import Analysis
from experiments.report.document import Block
from experiments.report.effort import Effort

TITLE = "Training on protected features (A1)"
EPOCHS = (
    "The attacker sends pictures of their own through the defence and continues training on what comes out. "
    "A defence that only confuses a fixed attacker collapses here. Epoch 0 is the basic attack. The best "
    "epoch counts as the worst case. We know which one it is; the attacker does not."
)
TRAINING = Effort(
    "epoch", "epochs of training on protected features", "; epoch 0 is the basic attack.", "epoch {}".format
)


def blocks(analysis: Analysis) -> Iterator[Block]:
    return TRAINING.blocks(analysis, analysis.best, EPOCHS, "epochs")
