"""A1 black-box: a trained decoder goes on learning from what a defence made of the attacker's images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from artifact import QUIET, artifact
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from facecrafter.nets import decoder as nets
from facecrafter.store import encoder_hash
from lightning_modules.artifacts import load_artifact
from lightning_modules.attackers.decoder import Decoder

SIZES = {"image_size": 16, "width": 16, "blocks": 1}


class Encoding(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 12, 2, stride=2), nn.BatchNorm2d(12))


class Pairs(LightningDataModule):
    """Eight pairs whose features, protected, show each image upside down."""

    def __init__(self, encoder: nn.Module, made_by: str | None = None) -> None:
        super().__init__()
        images = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(1))
        self.images = nn.functional.interpolate(images, (16, 16), mode="bilinear")
        with torch.no_grad():
            self.features = encoder.eval()(self.images).flip(2)
        self.encoder_hash = made_by or encoder_hash(encoder)

    def train_dataloader(self) -> DataLoader:
        return DataLoader([{"image": self.images, "features": self.features}] * 5, batch_size=None)


@pytest.fixture
def encoder(tmp_path: Path) -> str:
    torch.manual_seed(0)
    return artifact(tmp_path / "target", Encoding())


@pytest.fixture
def start(encoder: str, tmp_path: Path) -> str:
    torch.manual_seed(1)
    return artifact(tmp_path / "decoder", Decoder(encoder, **SIZES), encoder=encoder, **SIZES)


def pairs(encoder: str, **changes: str) -> Pairs:
    return Pairs(load_artifact(encoder, Encoding).encoder, **changes)


def test_it_starts_where_the_other_ended(encoder: str, start: str) -> None:
    """Epoch 0 of the curve is the basic attack."""
    features: Tensor = pairs(encoder).features
    tuned, before = Decoder(encoder, **SIZES, start=start), load_artifact(start, Decoder)
    assert torch.equal(tuned(features), before(features))
    assert all(weight.requires_grad for weight in tuned.decoder.parameters())


def test_what_the_defence_does_is_learnt(encoder: str, start: str) -> None:
    data = pairs(encoder)
    tuned = Decoder(encoder, **SIZES, start=start, learning_rate=3e-3)
    batch = {"image": data.images, "features": data.features}
    before = tuned.validation_loss(batch).item()
    Trainer(max_epochs=20, accelerator="cpu", **QUIET).fit(tuned, datamodule=data)
    assert tuned.validation_loss(batch).item() < before / 3


def test_the_rate_is_constant_so_that_every_epoch_may_be_the_last(encoder: str, start: str) -> None:
    tuned = Decoder(encoder, **SIZES, start=start, learning_rate=2e-3)
    trainer = Trainer(max_epochs=3, accelerator="cpu", **QUIET)
    rates: list[float] = []
    tuned.on_train_batch_start = lambda *_: rates.append(trainer.optimizers[0].param_groups[0]["lr"])
    trainer.fit(tuned, datamodule=pairs(encoder))
    assert rates == [2e-3] * 15


def test_pairs_of_another_encoder_are_refused_before_training(encoder: str, start: str) -> None:
    """An attacker who learns from foreign features fails, and the defence would look better than it is."""
    tuned = Decoder(encoder, **SIZES, start=start)
    with pytest.raises(ValueError, match=r"made by encoder ffffffffffff, but .*target has encoder"):
        Trainer(max_epochs=1, accelerator="cpu", **QUIET).fit(
            tuned, datamodule=pairs(encoder, made_by="f" * 64)
        )


def test_a_start_of_other_layers_is_refused_naming_the_remedy(encoder: str, start: str) -> None:
    with pytest.raises(ValueError, match="same linear, width and blocks"):
        Decoder(encoder, **{**SIZES, "width": 24}, start=start)


class Game(Encoding):
    """A defence that was trained against a decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nets.Decoder((12, 8, 8), SIZES["image_size"], SIZES["width"], SIZES["blocks"])


def test_it_starts_as_the_simulated_adversary_of_a_defence(encoder: str, tmp_path: Path) -> None:
    """Where it began elsewhere, epoch 0 would not be what the defence was trained against."""
    game = Game()
    folder = artifact(tmp_path / "game", game)
    features: Tensor = pairs(encoder).features
    torch.testing.assert_close(Decoder(folder, **SIZES, start=folder)(features), game.decoder(features))


def test_a_start_without_a_decoder_is_refused_by_name(encoder: str) -> None:
    with pytest.raises(ValueError, match="target holds no decoder to start from"):
        Decoder(encoder, **SIZES, start=encoder)
