"""What every defence inherits: seeds that follow the batch, and Crafter on top of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from artifact import artifact
from torch import Tensor

from facecrafter.crafter.crafting import CriticTraining
from facecrafter.crafter.implicit import NeumannSeries
from facecrafter.crafter.inversion import InnerProblem
from facecrafter.store import encoder_hash
from lightning_modules import Crafter, Defence, Prior, TargetNetwork, Undefended
from lightning_modules.artifacts import load_artifact

PRIOR = {"latent_dim": 8, "image_size": 32, "width": 4, "critic_width": 4}


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("networks") / "target"
    return artifact(folder, TargetNetwork(3), n_outputs=3)


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> str:
    return artifact(tmp_path_factory.mktemp("networks") / "prior", Prior(**PRIOR), **PRIOR)


def batch(number: int = 0) -> dict:
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(number))
    return {"number": number, "row": torch.arange(3), "image": images}


class Noise(Defence):
    def protect(self, images: Tensor, generator: torch.Generator) -> Tensor:
        raw = self.encoder(images)
        return raw + torch.randn(raw.shape, generator=generator)


def test_randomness_follows_seed_query_and_batch_and_nothing_else(target: str) -> None:
    def features(seed: int = 0, query: int = 0, number: int = 0) -> Tensor:
        return Noise(target, seed=seed, query=query).predict_step(batch() | {"number": number}, 0)["features"]

    assert torch.equal(features(), features())
    for other in (features(seed=1), features(query=1), features(number=1)):
        assert not torch.equal(features(), other)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda raw: raw.numpy(), "Own.protect returned a ndarray, not a Tensor"),
        (lambda raw: None, "Own.protect returned a NoneType"),
        (lambda raw: raw[:1], "for 3 images: a feature for each"),
    ],
)
def test_what_a_defence_of_ones_own_returns_is_looked_at(target: str, made, said: str) -> None:
    class Own(Defence):
        def protect(self, images: Tensor, rng: torch.Generator) -> Tensor:
            return made(self.encoder(images).detach())

    with pytest.raises(ValueError, match=said):
        Own(target).predict_step(batch(), 0)

    class Nothing(Defence):
        pass

    with pytest.raises(NotImplementedError, match="Nothing does not implement protect"):
        Nothing(target).predict_step(batch(), 0)


def test_undefended_features_are_the_encoders(target: str) -> None:
    defence = Undefended(target)
    result = defence.predict_step(batch(), 0)
    assert torch.equal(result["features"], defence.encoder(batch()["image"]))
    assert defence.meta() == {"encoder": encoder_hash(defence.encoder)}


def test_a_batch_that_is_stored_is_skipped(target: str) -> None:
    assert Undefended(target).predict_step(batch() | {"image": None}, 0) is None


def test_features_that_are_not_finite_are_refused(target: str) -> None:
    class Broken(Undefended):
        def protect(self, images: Tensor, generator: torch.Generator) -> Tensor:
            return super().protect(images, generator) / 0

    with pytest.raises(ArithmeticError, match="Broken"):
        Broken(target).predict_step(batch(), 0)


def crafter(target: str, prior: str, **options) -> Crafter:
    small = {
        "iterations": 3,
        "inner": InnerProblem(first=2, starts=1, refresh=0),
        "critic": CriticTraining(steps=1, batch=2, width=4),
    }
    return Crafter(target, prior, **{**small, **options})


def test_crafter_moves_the_features_and_tells_of_every_iteration(target: str, prior: str) -> None:
    defence = crafter(target, prior)
    heard: list[dict[str, float]] = []
    defence.listeners.append(heard.append)
    with torch.no_grad():  # as Lightning predicts
        features = defence.predict_step(batch(), 0)["features"]
    assert not torch.equal(features, defence.encoder(batch()["image"]))
    assert [row["iteration"] for row in heard] == [1, 2, 3]
    assert {"privacy_loss", "utility_loss", "emd", "gradient_penalty", "stationarity"} <= heard[0].keys()


def test_crafter_leaves_its_networks_as_they_are(target: str, prior: str) -> None:
    """The attacker model has copies; a gradient step on Enc or G would be a bug that no loss shows."""
    defence = crafter(target, prior)
    before = encoder_hash(defence)
    defence.predict_step(batch(), 0)
    assert encoder_hash(defence) == before


def test_crafter_stops_when_the_features_have_settled(target: str, prior: str) -> None:
    defence = crafter(target, prior, iterations=50, tolerance=1e9)
    heard: list[dict[str, float]] = []
    defence.listeners.append(heard.append)
    defence.predict_step(batch(), 0)
    assert len(heard) == 1


def test_the_papers_solver_can_be_named_in_a_configuration(target: str, prior: str, tmp_path: Path) -> None:
    solver = {
        "class_path": "facecrafter.implicit.NeumannSeries",
        "init_args": {"scale": 1e-4, "terms": 9},
    }
    init_args = {"target": target, "prior": prior, "solver": solver, "inner": {"first": 2}}
    config = {"model": {"class_path": "lightning_modules.Crafter", "init_args": init_args}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    crafting = load_artifact(tmp_path, Defence).crafting
    assert crafting.solver == NeumannSeries(1e-4, 9)
    assert crafting.inner == InnerProblem(first=2)
