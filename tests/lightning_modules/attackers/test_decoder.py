"""The decoder learns to invert an encoder that it never touches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from artifact import QUIET, artifact
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from facecrafter.store import encoder_hash
from lightning_modules.attackers.decoder import Decoder


class Encoding(LightningModule):
    """Something that has an encoder with a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 12, 2, stride=2), nn.BatchNorm2d(12))


class NoEncoder(LightningModule):
    pass


@pytest.fixture
def encoder(tmp_path: Path) -> str:
    torch.manual_seed(0)
    return artifact(tmp_path / "target", Encoding())


def batch(**extra: Tensor) -> dict[str, Tensor]:
    images = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return {"image": F.interpolate(images, (16, 16), mode="bilinear"), **extra}


def fit(module: LightningModule, data: dict[str, Tensor], steps: int) -> None:
    loader = DataLoader([data] * steps, batch_size=None)
    Trainer(max_epochs=1, accelerator="cpu", limit_val_batches=0, **QUIET).fit(module, loader)


def small(encoder: str, **kwargs) -> Decoder:
    torch.manual_seed(0)
    return Decoder(encoder, image_size=16, width=16, blocks=1, learning_rate=3e-3, **kwargs)


def error(module: Decoder, data: dict[str, Tensor]) -> float:
    module.eval()
    with torch.no_grad():
        return module.validation_loss(data).item()


def test_one_batch_is_learnt_and_the_encoder_stays(encoder: str) -> None:
    module = small(encoder, mirror=False)
    network = module.encoder.on(module.device)
    before, start = encoder_hash(network), error(module, batch())
    fit(module.train(), batch(), steps=120)
    assert error(module, batch()) < start / 4
    assert encoder_hash(network) == before
    assert not network.training


def test_pairs_that_the_data_brings_are_used_as_they_are(encoder: str) -> None:
    # Features without relation to the encoder: only a decoder that reads them can learn their images.
    pairs = batch(features=torch.randn(8, 12, 8, 8, generator=torch.Generator().manual_seed(2)))
    module = small(encoder)
    start = error(module, pairs)
    fit(module.train(), pairs, steps=150)
    assert error(module, pairs) < start / 2


def test_the_encoder_is_in_neither_checkpoint_nor_optimizer(encoder: str) -> None:
    module = small(encoder)
    assert all(
        name.startswith(("decoder.", "fill.")) for name in module.state_dict().keys() - {"_extra_state"}
    )
    assert {id(p) for p in module.parameters()} == {id(p) for p in module.decoder.parameters()}


def test_the_papers_form_is_an_option(encoder: str) -> None:
    module = Decoder(encoder, image_size=16, linear=True)
    assert module(torch.randn(2, 12, 8, 8)).shape == (2, 3, 16, 16)


def test_examples_show_the_image_beside_its_reconstruction(encoder: str) -> None:
    examples = small(encoder).example_images(batch())
    assert examples.shape == (8, 3, 16, 32)
    torch.testing.assert_close(examples[..., :16], batch()["image"])


def test_an_artifact_without_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="NoEncoder without encoder"):
        Decoder(artifact(tmp_path / "other", NoEncoder()), image_size=16)
