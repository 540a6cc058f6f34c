"""What the trained image priors share: a generator with an adversary, of which the moving average is used."""

from __future__ import annotations

from abc import abstractmethod

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from lightning_modules.checks import require_unused_parameters
from lightning_modules.training import moving_average


class AveragedGenerator(LightningModule):
    """G, trained against an adversary by hand: each of the two has its own optimizer and its own steps.

    Args:
        generator: G.
        averaging: decay of its moving average per step of G.
        learning_rate: of all Adams, constant: the moving average takes the place of a schedule.
    """

    def __init__(self, generator: nn.Module, averaging: float, learning_rate: float) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.learning_rate = learning_rate
        self.generator = generator
        self.average = moving_average(generator, averaging)

    @abstractmethod
    def latents(self, count: int) -> Tensor:
        """Random latents (count, d); with several ranks, this one's part of them."""

    @property
    def network(self) -> nn.Module:
        """What an attack uses: the moving average of G, latents (N, d) -> images (N, 3, H, W) in [0, 1]."""
        return self.average.module

    def setup(self, stage: str) -> None:
        require_unused_parameters(self)

    def adam(self, betas: tuple[float, float], *networks: nn.Module | None) -> torch.optim.Optimizer:
        """The optimizer of networks that move together; of those that there are."""
        # An optimizer steps over its own parameters alone, so each player stands still in the other's turn.
        parameters = [p for network in networks if network for p in network.parameters()]
        return torch.optim.Adam(parameters, self.learning_rate, betas, fused=True)

    @torch.no_grad()
    def example_images(self, batch: dict[str, Tensor]) -> Tensor:
        """Random faces of the averaged generator (N, 3, H, W): synthetic, so free to be shown."""
        return self.network(self.latents(len(batch["image"])))
