"""What modules with several optimizers share: a step of one, and what they ask of the Trainer."""

from __future__ import annotations

from pytorch_lightning import LightningModule
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor
from torch.optim import Optimizer


def descend(module: LightningModule, loss: Tensor, optimizer: Optimizer) -> None:
    """One step of one of the module's optimizers down the loss."""
    optimizer.zero_grad()
    module.manual_backward(loss)
    optimizer.step()


def require_unused_parameters(module: LightningModule) -> None:
    """Sees that DDP expects steps which leave some of the module's parameters without a gradient.

    Raises:
        ValueError: it does not, and would fail in the second step; naming the flag to use.
    """
    strategy = module.trainer.strategy
    if isinstance(strategy, DDPStrategy) and not strategy._ddp_kwargs.get("find_unused_parameters"):
        raise ValueError(
            f"{type(module).__name__} has several optimizers, so each step leaves parameters unused: "
            "use --trainer.strategy ddp_find_unused_parameters_true"
        )
