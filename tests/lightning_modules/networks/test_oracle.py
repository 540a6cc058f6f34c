"""The oracles recognise whom they know, and refuse galleries and data that do not fit."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from artifact import QUIET
from pytorch_lightning import Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from facecrafter.nets.identity import MobileFaceNet
from lightning_modules.networks.oracle import EmbeddingOracle, IdentityClassifier
from lightning_modules.networks.recognisers import OwnOracle


def people(n: int, each: int, size: int = 32) -> tuple[Tensor, Tensor]:
    """`each` noisy images of n coarse random patterns, which stand for faces."""
    generator = torch.Generator().manual_seed(0)
    faces = torch.rand(n, 3, 4, 4, generator=generator).repeat_interleave(each, dim=0)
    images = torch.nn.functional.interpolate(faces, (size, size), mode="bilinear")
    noise = 0.02 * torch.randn(images.shape, generator=generator)
    return (images + noise).clamp(0, 1), torch.arange(n).repeat_interleave(each)


@pytest.fixture
def weights(tmp_path: Path) -> str:
    """Weights of a MobileFaceNet whose batch norms know a few images, so that embeddings differ."""
    torch.manual_seed(0)
    network = MobileFaceNet()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None
    with torch.no_grad():
        network(people(8, 2)[0])
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    return str(tmp_path / "weights.pt")


def test_a_classifier_learns_who_is_who() -> None:
    torch.manual_seed(0)
    images, identities = people(3, 4)
    module = IdentityClassifier(3, "resnet18_quarter", learning_rate=1e-3)
    data = DataLoader([{"image": images, "identity": identities}], batch_size=None)
    Trainer(max_epochs=16, accelerator="cpu", **QUIET).fit(module, data)
    module.eval()
    embeddings = module.embed(images)
    assert embeddings.shape == (12, 200)
    assert (module.scores(embeddings).argmax(1) == identities).float().mean() > 0.9


def test_a_classifier_for_other_people_is_refused() -> None:
    module = IdentityClassifier(3)
    data = SimpleNamespace(fit_role="private_train", n_private_identities=5)
    module._trainer = SimpleNamespace(datamodule=data)
    with pytest.raises(ValueError, match="5 private identities; set 5"):
        module.setup("fit")
    data.fit_role = "public"
    with pytest.raises(ValueError, match="fit_role to private_train, not public"):
        module.setup("fit")


def test_scores_are_cosines_to_the_mean_embeddings(weights: str) -> None:
    oracle = EmbeddingOracle(weights).eval()
    images, identities = people(4, 3)
    embeddings = oracle.embed(images)
    oracle.enrol(embeddings, identities)
    means = torch.stack([embeddings[identities == i].mean(0) for i in range(4)])
    expected = torch.nn.functional.cosine_similarity(embeddings[:, None], means[None], dim=2)
    torch.testing.assert_close(oracle.scores(embeddings), expected, rtol=1e-4, atol=1e-5)
    assert (oracle.scores(embeddings).argmax(1) == identities).all()


def test_enrolment_replaces_the_one_before(weights: str) -> None:
    """An oracle that judges a second data set must not know the people of the first."""
    images, identities = people(4, 3)
    oracle, fresh = EmbeddingOracle(weights), EmbeddingOracle(weights)
    embeddings = oracle.embed(images)
    oracle.enrol(embeddings.flip(0), identities)
    oracle.enrol(embeddings, identities)
    fresh.enrol(embeddings, identities)
    torch.testing.assert_close(oracle.scores(embeddings), fresh.scores(embeddings), rtol=0, atol=0)


def test_who_is_not_enrolled_cannot_be_scored(weights: str) -> None:
    oracle = EmbeddingOracle(weights)
    images, identities = people(3, 1)
    embeddings = oracle.embed(images)
    with pytest.raises(RuntimeError, match="nobody"):
        oracle.scores(embeddings)
    with pytest.raises(ValueError, match="identity 1"):
        oracle.enrol(embeddings[[0, 2]], identities[[0, 2]])


def test_only_the_face_box_is_seen(weights: str) -> None:
    oracle = EmbeddingOracle(weights, face_box=(0.25, 0.25, 0.75, 1.0))
    images, _ = people(2, 1)
    outside = images.clone()
    outside[:, :, :8] = 0
    outside[..., :8] = 0
    outside[..., 24:] = 0
    torch.testing.assert_close(oracle.embed(outside), oracle.embed(images), rtol=0, atol=0)
    with pytest.raises(ValueError, match="face_box"):
        EmbeddingOracle(weights, face_box=(0.5, 0.0, 0.4, 1.0))


class Pooled(torch.nn.Module):
    """Somebody's network: the mean colours of a 4 x 4 grid, scaled by what it has learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(3))

    def forward(self, images: Tensor) -> Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(images - 0.5, 4) * self.scale[:, None, None]


def test_any_network_of_ones_own_judges(tmp_path: Path) -> None:
    oracle = OwnOracle("test_oracle.Pooled", face_box=(0.0, 0.0, 1.0, 1.0)).eval()
    images, identities = people(4, 3)
    embeddings = oracle.embed(images)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(12))
    oracle.enrol(embeddings, identities)
    assert (oracle.scores(embeddings).argmax(1) == identities).all()
    torch.save({"scale": torch.tensor([1.0, 0.0, 0.0])}, tmp_path / "red.pt")
    red = OwnOracle("test_oracle.Pooled", str(tmp_path / "red.pt")).embed(images)
    assert red[:, 16:].abs().max() == 0
    with pytest.raises(ValueError, match=r"make='torch\.nowhere' is no import path of a network"):
        OwnOracle("torch.nowhere")
    with pytest.raises(ValueError, match=r"makes a Size, not a torch\.nn\.Module"):
        OwnOracle("torch.Size")
