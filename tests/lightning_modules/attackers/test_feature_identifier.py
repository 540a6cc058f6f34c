"""Who is in the picture, from the features: the leaked pairs alone are learnt from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from artifact import QUIET, artifact
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from facecrafter.store import encoder_hash
from lightning_modules.artifacts import load_artifact
from lightning_modules.attackers import identifier as module
from lightning_modules.attackers.identifier import FeatureIdentifier, with_outputs

PEOPLE = 5


class Split(LightningModule):
    """Stands for a target network of three attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4))
        self.head = nn.Sequential(
            nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)
        )


class NoHead(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(3, 4, 4, stride=4)


class People(LightningDataModule):
    """Noisy pictures of five people."""

    def __init__(self, fit_role: str = "private_train", people: int = PEOPLE) -> None:
        super().__init__()
        self.fit_role, self.n_private_identities = fit_role, people

    def batch(self, seed: int) -> dict[str, Tensor]:
        faces = torch.rand(PEOPLE, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        identity = torch.arange(PEOPLE).repeat(4)
        noise = torch.randn(len(identity), 3, 8, 8, generator=torch.Generator().manual_seed(seed))
        return {"image": (faces[identity] + 0.05 * noise).clamp(0, 1), "identity": identity}

    def train_dataloader(self) -> DataLoader:
        return DataLoader([self.batch(seed) for seed in range(1, 9)], batch_size=None)


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(module, "TargetNetwork", Split)
    torch.manual_seed(0)
    return artifact(tmp_path / "target", Split())


def identifier(target: str) -> FeatureIdentifier:
    torch.manual_seed(1)
    return FeatureIdentifier(target, PEOPLE, learning_rate=5e-3)


def fit(module: FeatureIdentifier, data: People, epochs: int = 10) -> FeatureIdentifier:
    Trainer(max_epochs=epochs, accelerator="cpu", **QUIET).fit(module, datamodule=data)
    return module


def test_people_are_read_from_features_that_it_has_not_seen(target: str) -> None:
    module = fit(identifier(target), People()).eval()
    encoder = load_artifact(target, Split).encoder
    unseen = People().batch(seed=99)
    with torch.no_grad():
        scores = module.network(encoder(unseen["image"]))
    assert (scores.argmax(dim=1) == unseen["identity"]).double().mean() > 0.9


def test_it_has_the_heads_layers_and_weights_but_for_the_last(target: str) -> None:
    head = load_artifact(target, Split).head
    own = identifier(target).head
    assert [type(layer) for layer in own] == [type(layer) for layer in head]
    assert torch.equal(own[0].weight, head[0].weight)
    assert own[-1].weight.shape == (PEOPLE, 32)
    assert own.training
    assert all(weight.requires_grad for weight in own.parameters())


def test_the_encoder_and_the_artifacts_head_stay(target: str) -> None:
    before = load_artifact(target, Split)
    module = fit(identifier(target), People(), epochs=1)
    assert module.encoder_hash == encoder_hash(before.encoder)
    assert all(name.startswith("head.") for name in module.state_dict().keys() - {"_extra_state"})
    assert encoder_hash(load_artifact(target, Split).head) == encoder_hash(before.head)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (People(fit_role="public"), "fit_role to private_train, not public"),
        (People(people=7), "n_identities=5 but the data has 7"),
    ],
)
def test_data_that_does_not_fit_is_refused(target: str, data: People, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(identifier(target), data)


def test_heads_that_cannot_be_given_outputs_are_refused(target: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="NoHead, which has no head"):
        FeatureIdentifier(artifact(tmp_path / "other", NoHead()), PEOPLE)
    with pytest.raises(ValueError, match="Sequential, has no linear layer"):
        with_outputs(nn.Sequential(nn.Flatten()), PEOPLE)
