"""Release on the manifold as a defence: what leaves the device is the prior's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from artifact import artifact
from toy_rivals import released, target_and_prior, toy_target

from facecrafter.crafter.inversion import AttackerModel, InnerProblem, invert
from lightning_modules import Crafter, Decoder, Erasure, IdentityEraser, Manifold

INNER = InnerProblem(first=10, starts=2)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return target_and_prior(tmp_path_factory.mktemp("networks"))


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


def test_every_query_draws_another_start(networks: dict[str, str]) -> None:
    """So that an attacker may average, and a report that has not tried it says so."""
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    first, second = (
        released(Manifold(**networks, inner=INNER, precision="32", query=query).eval(), images)
        for query in (0, 1)
    )
    assert not torch.allclose(first, second)
    assert Manifold.is_randomised({})
    assert not Manifold.is_randomised({"alpha": 1.0})


def test_networks_of_another_encoder_are_refused(networks: dict[str, str], tmp_path: Path) -> None:
    """What they know of features holds for their own encoder's: with another's they would protect less."""
    other = toy_target(tmp_path, seed=3)
    arguments = {"encoder": networks["target"], "image_size": 32}
    eraser = artifact(tmp_path / "eraser", IdentityEraser(**arguments, rank=2), **arguments, rank=2)
    decoder = artifact(tmp_path / "decoder", Decoder(**arguments, width=8), **arguments, width=8)
    with pytest.raises(ValueError, match=r"the IdentityEraser in .* reads features of encoder"):
        Erasure(other, networks["prior"], eraser)
    for name, folder in (("eraser", eraser), ("decoder", decoder)):
        with pytest.raises(ValueError, match="reads features of encoder"):
            Crafter(other, networks["prior"], **{name: folder})


def test_alpha_1_is_no_defence(networks: dict[str, str]) -> None:
    defence = Manifold(**networks, alpha=1.0, inner=INNER, precision="32").eval()
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(released(defence, images), defence.encoder(images), atol=1e-5, rtol=1e-4)
