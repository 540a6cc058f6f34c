"""Toy networks, artifacts and measurements that the tests of the rivals share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from artifact import QUIET, artifact
from pytorch_lightning import Callback, LightningModule, Trainer
from tiny_study import DATA, TRAINER, write
from torch import Tensor, nn
from torch.utils.data import DataLoader

from experiments import fit as fit_command
from lightning_modules import Decoder, Defence, Prior, TargetNetwork

IGNORED = ("ignore:LightningCLI's args parameter", "ignore:Checkpoint directory")
N_ATTRIBUTES, N_PEOPLE, SIDE, CHANNELS = 3, 4, 8, 4


class ToyEncoder(nn.Sequential):
    """Images (N, 3, H, W) -> features (N, 4, H/4, W/4), smooth so that finite differences are exact."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, CHANNELS, 4, stride=4), nn.Softplus())


class ToyHead(nn.Sequential):
    """Features (N, C, h, w) -> (N, n_outputs)."""

    def __init__(self, n_outputs: int = N_ATTRIBUTES, channels: int = CHANNELS) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, n_outputs))


def toy_tail(channels: int, n_outputs: int) -> nn.Sequential:
    """Takes the place of `resnet18_tail`, whose 11 million weights a test cannot wait for."""
    return ToyHead(n_outputs, channels)


def small_tail(channels: int, n_outputs: int) -> nn.Sequential:
    """The same with a batch norm, which ranks share and checkpoints keep."""
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, stride=2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, n_outputs),
    )


def shrink_rivals(patch: pytest.MonkeyPatch, tail: Callable[[int, int], nn.Module] = toy_tail) -> None:
    """Small networks in place of the ResNets inside Disco and TIPRDC: their checkpoints have hundreds of
    megabytes."""
    nets = "facecrafter.nets"
    for module in (f"{nets}.pruner", f"{nets}.statistics", "lightning_modules.defences.tiprdc"):
        patch.setattr(f"{module}.resnet18_tail", tail)
    patch.setattr(f"{nets}.statistics.resnet18", lambda num_classes: tail(3, num_classes))
    patch.setattr(f"{nets}.statistics.WIDTHS", (64, 32))


def toy_target(folder: Path, n_outputs: int = N_ATTRIBUTES, loss: str = "attributes", seed: int = 0) -> str:
    """A target network of toys."""
    torch.manual_seed(seed)
    network = TargetNetwork(n_outputs, encoder=ToyEncoder(), head=ToyHead(n_outputs))
    init_args = {
        "n_outputs": n_outputs,
        "loss": loss,
        "encoder": {"class_path": f"{__name__}.ToyEncoder"},
        "head": {"class_path": f"{__name__}.ToyHead", "init_args": {"n_outputs": n_outputs}},
    }
    return artifact(folder / "target", network, **init_args)


def toy_decoder(folder: Path, target: str, image_size: int = SIDE) -> str:
    """A decoder for the features of `target`."""
    torch.manual_seed(1)
    init_args = {"encoder": target, "image_size": image_size, "width": 4, "blocks": 1}
    return artifact(folder / "decoder", Decoder(**init_args), **init_args)


def toy_batch(count: int = 8) -> dict[str, Tensor]:
    """Images that are all different, their attributes and identities, in double precision."""
    random = torch.Generator().manual_seed(2)
    colours = torch.rand(count, 3, 2, 2, generator=random, dtype=torch.float64)
    return {
        "image": nn.functional.interpolate(colours, SIDE),
        "attributes": torch.randint(2, (count, N_ATTRIBUTES), generator=random).double(),
        "identity": torch.arange(count) % N_PEOPLE,
        "row": torch.arange(count),
    }


def fit(module: LightningModule, epochs: int = 1, batches: int = 1, **options: Any) -> Trainer:
    """Train `module` in double precision on `batches` times the toy batch per epoch.

    In one memory format, so that an added term of exactly zero changes no rounding.
    """
    trainer = Trainer(max_epochs=epochs, accelerator="cpu", **{**QUIET, **options})
    torch.manual_seed(3)
    module.to(torch.double, memory_format=torch.contiguous_format)
    trainer.fit(module, DataLoader([toy_batch()] * batches, batch_size=None))
    return trainer


def train_only(module: LightningModule, *movers: str, learning_rate: float = 0.01) -> None:
    """Make every player but `movers` stand still: their steps have no length."""

    def optimizers() -> list[torch.optim.Optimizer]:
        return [
            torch.optim.Adam(player.parameters(), learning_rate)
            if name in movers
            else torch.optim.SGD(player.parameters(), lr=0.0)
            for name, player in module.players().items()
        ]

    module.configure_optimizers = optimizers


def assert_descends(module: LightningModule, player: str, objective: Callable[[], Tensor]) -> None:
    """The gradient that `player` was left with is that of `objective`, by central differences.

    Along the gradient itself, which must not be zero, and along a random direction: a missing term, a wrong
    sign or a detached input shows in one or the other.
    """
    parameters = list(module.players()[player].parameters())
    gradient = [parameter.grad.clone() for parameter in parameters]
    length = dot(gradient, gradient) ** 0.5
    assert length > 1e-6, f"{player} has no gradient"
    random = torch.Generator().manual_seed(4)
    for direction in (gradient, [torch.randn(p.shape, generator=random, dtype=p.dtype) for p in parameters]):
        norm = dot(direction, direction) ** 0.5
        unit = [part / norm for part in direction]
        up, down = (value_at(parameters, unit, step, objective) for step in (1e-6, -1e-6))
        assert abs((up - down) / 2e-6 - dot(gradient, unit)) < 1e-4 * length


def dot(a: list[Tensor], b: list[Tensor]) -> float:
    """The inner product of two lists of tensors."""
    return sum(((x * y).sum() for x, y in zip(a, b, strict=True)), torch.tensor(0.0)).item()


@torch.no_grad()
def value_at(
    parameters: list[nn.Parameter], direction: list[Tensor], distance: float, objective: Callable[[], Tensor]
) -> float:
    """`objective` with the parameters moved by `distance` along `direction`."""
    kept = [parameter.clone() for parameter in parameters]
    for parameter, part in zip(parameters, direction, strict=True):
        parameter += distance * part
    value = objective().item()
    for parameter, before in zip(parameters, kept, strict=True):
        parameter.copy_(before)
    return value


def assert_published(distance: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Of images that differ by 1, 2 and 2 deviations of red, green and blue, by hand: 32 images of 4 × 4
    pixels have √(32·16·(1 + 4 + 4)) / 16, and so have 8."""
    images = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(6))
    apart = torch.tensor([0.229, 2 * 0.224, 2 * 0.225])[:, None, None]
    assert distance(images, images + apart).item() == pytest.approx(3 * 2**0.5, rel=1e-5)


class Killer(Callback):
    """Ends the process at the start of an epoch, as a machine that is taken away does."""

    CHANGES_NUMBERS = False

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == self.epoch:
            raise SystemExit("killed")


def fit_from_the_command_line(
    folder: Path,
    model: dict[str, Any],
    data: dict[str, Any],
    trainer: dict[str, Any],
    killed_at: int | None = None,
) -> dict[str, Any]:
    """The weights that `experiments.fit` leaves behind on the tiniest painted faces.

    `data` is a whole section of the configuration, or changes to the init args of the faces.
    With `killed_at` the process ends at the start of that epoch, and is started again.
    """
    section = data if "class_path" in data else {**DATA, "init_args": DATA["init_args"] | data}
    config = {"trainer": {**TRAINER, **trainer}, "model": model, "data": section, "threads": 1}
    folder.mkdir()
    output = ["--output", str(folder / "run")]
    if killed_at is not None:
        killer = {"class_path": f"{__name__}.Killer", "init_args": {"epoch": killed_at}}
        killed = {**config, "trainer": {**config["trainer"], "callbacks": [killer]}}
        with pytest.raises(SystemExit, match="killed"):
            fit_command.main(["--config", str(write(killed, folder / "killed.yaml")), *output])
    fit_command.main(["--config", str(write(config, folder / "fit.yaml")), *output])
    state = torch.load(folder / "run" / "last.ckpt", weights_only=True)["state_dict"]
    return dict(state)


def assert_same_weights(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Bit for bit, and what a checkpoint says beside the weights."""
    assert first.keys() == second.keys()
    for name, value in first.items():
        same = torch.equal(value, second[name]) if isinstance(value, Tensor) else value == second[name]
        assert same, f"{name} differs"


def target_and_prior(folder: Path) -> dict[str, str]:
    """Artifact folders of an untrained target network and a small prior, by argument of a defence."""
    torch.manual_seed(0)
    small = {"latent_dim": 8, "image_size": 32, "width": 4, "critic_width": 4}
    narrow = {"n_outputs": 3, "arch": "resnet18_quarter"}
    modules = {"target": (TargetNetwork, narrow), "prior": (Prior, small)}
    return {
        name: artifact(folder / name, kind(**arguments), **arguments)
        for name, (kind, arguments) in modules.items()
    }


def released(defence: Defence, images: Tensor, number: int = 0) -> Tensor:
    """What leaves the device of batch `number`, as Lightning predicts it."""
    with torch.no_grad():
        batch = {"number": number, "row": torch.arange(len(images)), "image": images}
        return defence.predict_step(batch, 0)["features"]
