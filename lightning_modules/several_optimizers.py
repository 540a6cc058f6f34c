"""What a module with several optimizers asks of the Trainer."""

from __future__ import annotations

from pytorch_lightning import LightningModule
from pytorch_lightning.strategies import DDPStrategy


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
