"""The amortizer learns to invert φ = Enc∘G, both of which stay as they were."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from artifact import QUIET, artifact
from pytorch_lightning import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader

from facecrafter.store import encoder_hash
from lightning_modules.attackers import amortizer as amortizer_module
from lightning_modules.attackers.amortizer import Amortizer


class Encoding(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(3, 4, 4, stride=4)


class Faces(LightningModule):
    """A prior of two latents."""

    latent_dim, image_size = 2, 16

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(2, 768), nn.Unflatten(1, (3, 16, 16)), nn.Sigmoid())


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Amortizer:
    monkeypatch.setattr(amortizer_module, "Prior", Faces)
    torch.manual_seed(0)
    encoder, prior = artifact(tmp_path / "target", Encoding()), artifact(tmp_path / "prior", Faces())
    return Amortizer(encoder, prior, learning_rate=2e-3)


def residual(module: Amortizer) -> float:
    latents = torch.randn(64, 2, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        features = module.phi(latents)
        return ((module.phi(module.eval()(features)) - features).square().mean() / features.var()).item()


def test_features_are_inverted_and_phi_stays(module: Amortizer) -> None:
    frozen = [module.encoder.on(module.device), module.generator.on(module.device)]
    before, start = [encoder_hash(network) for network in frozen], residual(module)
    data = DataLoader([{"image": torch.zeros(16, 3, 16, 16)}] * 40, batch_size=None)
    Trainer(max_epochs=1, accelerator="cpu", **QUIET).fit(module.train(), data)
    assert residual(module) < start / 3
    assert [encoder_hash(network) for network in frozen] == before


def test_phi_is_in_neither_checkpoint_nor_optimizer(module: Amortizer) -> None:
    assert all(
        name.startswith(("amortizer.", "fill.")) for name in module.state_dict().keys() - {"_extra_state"}
    )
    assert {id(p) for p in module.parameters()} == {id(p) for p in module.amortizer.parameters()}
