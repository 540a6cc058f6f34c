"""A target network that fails at a chosen moment of a fit."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_modules import TargetNetwork


class Failing(TargetNetwork):
    """Fails in its constructor, setup, first step or second epoch.

    Args:
        where: one of these.
        given: see TargetNetwork.

    Raises:
        ValueError: always, at that moment.
    """

    def __init__(self, where: str, **given: Any) -> None:
        super().__init__(**given)
        self.where = where
        self._reach("constructor")

    def setup(self, stage: str) -> None:
        super().setup(stage)
        self._reach("setup")

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        self._reach("first step")
        if self.current_epoch == 1:
            self._reach("second epoch")
        return super().training_step(batch, batch_idx)

    def _reach(self, moment: str) -> None:
        if moment == self.where:
            raise ValueError(f"fails in its {moment}")
