"""The moving average of a generator that learns against an adversary: it takes a schedule's place."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def moving_average(network: nn.Module, decay: float) -> AveragedModel:
    """An average of the network's weights and buffers, frozen; `update_parameters` after every step.

    Early on its memory is short, whatever the `decay`: the first weights are noise.
    """
    average = AveragedModel(network, avg_fn=partial(_lerp, decay), use_buffers=True)
    average.requires_grad_(False)
    return average


def _lerp(decay: float, average: Tensor, current: Tensor, updates: Tensor) -> Tensor:
    if not current.is_floating_point():
        return current
    decay = min(decay, float((1 + updates) / (10 + updates)))
    return average.lerp(current.to(average.dtype), 1 - decay)
