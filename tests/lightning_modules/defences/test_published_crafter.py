"""The published algorithm as a defence: it runs wherever `Crafter` does, as it is configured."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from artifact import artifact
from toy_rivals import target_and_prior

from facecrafter.crafter.critic import CriticTraining
from facecrafter.crafter.reference import PUBLISHED_CRITIC, SQUARED, UNSQUARED, RestartedInversion
from facecrafter.store import encoder_hash
from lightning_modules import Amortizer, Defence
from lightning_modules.artifacts import load_artifact
from lightning_modules.defences.crafter import PublishedCrafter

PRIOR = {"latent_dim": 8, "image_size": 32, "width": 4, "critic_width": 4}
SMALL = {
    "iterations": 2,
    "inner": RestartedInversion(steps=2),
    "products": 2,
    "critic": CriticTraining(steps=1, batch=2, width=4),
}


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Artifact folders of a target network and a prior."""
    return target_and_prior(tmp_path_factory.mktemp("networks"))


def batch() -> dict:
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return {"number": 0, "row": torch.arange(3), "image": images}


def test_the_features_move_and_every_iteration_is_told(networks: dict[str, str]) -> None:
    defence = PublishedCrafter(**networks, **SMALL)
    heard: list[dict[str, float]] = []
    defence.listeners.append(heard.append)
    with torch.no_grad():  # as Lightning predicts
        features = defence.predict_step(batch(), 0)["features"]
    assert not torch.equal(features, defence.encoder(batch()["image"]))
    assert [row["iteration"] for row in heard] == [1, 2]
    assert {"privacy_loss", "utility_loss", "emd", "gradient_penalty", "stationarity"} <= heard[0].keys()


def test_the_attacked_encoder_stays_the_targets(networks: dict[str, str]) -> None:
    defence = PublishedCrafter(**networks, **SMALL)
    before = encoder_hash(defence)
    defence.predict_step(batch(), 0)
    assert encoder_hash(defence) == before


def test_inversions_start_at_the_amortizer_of_the_artifact(networks: dict[str, str], tmp_path: Path) -> None:
    init_args = {"encoder": networks["target"], "prior": networks["prior"]}
    module = Amortizer(**init_args)
    folder = artifact(tmp_path / "amortizer", module, **init_args)
    options = SMALL | {"inner": RestartedInversion(steps=0)}
    crafting = PublishedCrafter(**networks, amortizer=folder, **options).crafting
    state = crafting.start(batch()["image"], torch.Generator().manual_seed(0))
    crafting.step(state)
    torch.testing.assert_close(state.z, module.eval()(state.raw).detach())


def test_a_configuration_names_the_reading_and_keeps_the_other_published_numbers(
    networks: dict[str, str], tmp_path: Path
) -> None:
    init_args = networks | {"reading": "unsquared", "inner": {"steps": 100}, "critic": {"width": 4}}
    config = {
        "model": {
            "class_path": "lightning_modules.PublishedCrafter",
            "init_args": init_args,
        }
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    defence = load_artifact(tmp_path, Defence)
    assert defence.iterations == 500
    assert defence.crafting.reading == UNSQUARED
    assert defence.crafting.inner == RestartedInversion(steps=100)
    assert (defence.crafting.critic.steps, defence.crafting.critic.width) == (PUBLISHED_CRITIC.steps, 4)
    assert PublishedCrafter(**networks).crafting.reading == SQUARED


def test_no_iterations_are_refused(networks: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="iterations"):
        PublishedCrafter(**networks, iterations=0)
