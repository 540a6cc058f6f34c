"""Release on the manifold as a defence: what leaves the device is the prior's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toy_rivals import artifact

from facecrafter.crafter.inversion import AttackerModel, InnerProblem, invert
from lightning_modules import Manifold, Prior, TargetNetwork

PRIOR = {"latent_dim": 8, "image_size": 32, "width": 4, "critic_width": 4}
INNER = InnerProblem(first=10, starts=2)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder: Path = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    modules = {"target": (TargetNetwork, {"n_outputs": 3}), "prior": (Prior, PRIOR)}
    return {
        name: artifact(folder / name, f"lightning_modules.{kind.__name__}", arguments, kind(**arguments))
        for name, (kind, arguments) in modules.items()
    }


def released(defence: Manifold, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():  # as Lightning predicts
        batch = {"number": 0, "row": torch.arange(len(images)), "image": images}
        return defence.predict_step(batch, 0)["features"]


def test_what_is_released_is_a_feature_of_the_prior(networks: dict[str, str]) -> None:
    """An attacker who inverts it finds next to no residual, where the raw feature leaves a large one."""
    defence = Manifold(**networks, inner=INNER, precision="32").eval()
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    features, raw = released(defence, images), defence.encoder(images)
    model: AttackerModel = defence.model
    starts = torch.randn(3, 3, 8, generator=torch.Generator().manual_seed(1))

    def left(target: torch.Tensor) -> torch.Tensor:
        return torch.stack([invert(model, target, start, 25).loss for start in starts]).amin(dim=0)

    assert left(features).mean() < 0.5 * left(raw).mean()


def test_alpha_1_is_no_defence(networks: dict[str, str]) -> None:
    defence = Manifold(**networks, alpha=1.0, inner=INNER, precision="32").eval()
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(released(defence, images), defence.encoder(images), atol=1e-5, rtol=1e-4)
