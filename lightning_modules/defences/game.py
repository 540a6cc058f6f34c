"""Defences that are trained against a simulated adversary: several players, each with its own optimizer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from facecrafter.losses.games import Task
from lightning_modules.checks import require_unused_parameters
from lightning_modules.defences.base import Defence
from lightning_modules.training import SeededBatches


class GameDefence(SeededBatches, Defence):
    """A defence whose networks are players of a game, trained in turns.

    A subclass names its `players`, and moves them in `training_step`. The trained networks are the defence's
    own: they are in its checkpoint, and the target network's artifact stays as it is.

    What the game is about (task, distance) is noted, and `callbacks.Settling` tells whether it settles.

    Args:
        target: artifact folder of the trained target network that Enc and f start from.
        lambda_: λ in [0, 1], the weight of privacy against utility: at 0 there is no privacy term.
        learning_rate: of every player's Adam.
        seed, query: see Defence.
    """

    def __init__(
        self, target: str, lambda_: float, learning_rate: float, seed: int = 0, query: int = 0
    ) -> None:
        super().__init__(target, seed, query)
        if not 0 <= lambda_ <= 1:
            raise ValueError(f"lambda_ must lie between 0 and 1, got {lambda_}")
        self.automatic_optimization = False
        self.lambda_ = lambda_
        self.learning_rate = learning_rate
        self.noted: dict[str, list[Tensor]] = {}

    @abstractmethod
    def players(self) -> dict[str, nn.Module]:
        """The networks that move together, by name, in the order of `configure_optimizers`."""

    def optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer of one player."""
        return torch.optim.Adam(parameters, self.learning_rate)

    def setup(self, stage: str) -> None:
        if stage != "fit":
            return
        require_unused_parameters(self)
        for player in self.players().values():  # those of an artifact come frozen, and DDP would skip them
            player.train().requires_grad_(True)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [self.optimizer(list(player.parameters())) for player in self.players().values()]

    def move(self, objective: Callable[[], Tensor], *movers: str) -> None:
        """One step of the players `movers` down their `objective`.

        All others are frozen while it is computed: in eval mode, so that their batch norms and dropout stand
        still too, and without gradients.
        """
        # `objective` is a function, to be computed after this: modes and flags act in the forward pass.
        players = self.players()
        for name, player in players.items():
            player.train(name in movers).requires_grad_(name in movers)
        loss = objective()
        optimizers = dict(zip(players, self.optimizers(), strict=True))
        for name in movers:
            optimizers[name].zero_grad()
        # One backward pass, also where several players move: under DDP their gradients are reduced in it.
        self.manual_backward(loss)
        for name in movers:
            optimizers[name].step()
        self.log(f"train/{movers[0]}", loss.detach(), prog_bar=True)

    def on_train_epoch_start(self) -> None:
        self.noted = {}

    def note(self, **terms: Tensor) -> None:
        """Keep a batch's share of what the game is about, none negative, by name."""
        place = "train" if torch.is_grad_enabled() else "val"
        for name, value in terms.items():
            self.noted.setdefault(f"{place}/{name}", []).append(value.detach())

    def protect(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """What the trained encoder makes of the images; nothing is random any more."""
        features: Tensor = self.encoder(images)
        return features


def task_of(defence: Defence, target: str) -> Task:
    """What the defence's target network, from the artifact folder `target`, was trained to read.

    Raises:
        ValueError: it was trained to tell people apart, which is no task that a cloud should have.
    """
    if defence.task == "identities":
        raise ValueError(
            f"{target} was trained to tell identities apart, but this defence keeps a task: "
            "name a target network trained with loss=attributes or loss=classes"
        )
    return defence.task
