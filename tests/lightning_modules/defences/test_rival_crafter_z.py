"""Crafter-z as a defence: what it announces, releases and leaves alone."""

from __future__ import annotations

import pytest
import torch
from toy_rivals import target_and_prior

from facecrafter.crafter.critic import CriticTraining
from facecrafter.crafter.inversion import InnerProblem
from facecrafter.store import encoder_hash
from lightning_modules import CrafterZ

PRIOR = {"latent_dim": 8, "image_size": 32, "width": 4, "critic_width": 4}


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return target_and_prior(tmp_path_factory.mktemp("networks"))


def test_features_are_the_priors_own_and_every_iteration_is_announced(networks: dict[str, str]) -> None:
    defence = CrafterZ(
        **networks,
        iterations=3,
        inner=InnerProblem(first=2, starts=1),
        critic=CriticTraining(steps=1, batch=2, width=4),
    )
    heard: list[dict[str, float]] = []
    defence.listeners.append(heard.append)
    before = encoder_hash(defence)
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():  # as Lightning predicts
        result = defence.predict_step({"number": 0, "row": torch.arange(3), "image": images}, 0)
    assert result["features"].shape == defence.encoder(images).shape
    assert not result["features"].requires_grad
    assert [row["iteration"] for row in heard] == [1, 2, 3]
    assert {"privacy_loss", "utility_loss", "emd", "gradient_penalty"} <= heard[0].keys()
    assert encoder_hash(defence) == before


def test_no_iterations_are_refused(networks: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="iterations"):
        CrafterZ(**networks, iterations=0)
