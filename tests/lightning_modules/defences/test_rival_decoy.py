"""A stranger's feature with this face's answer, as a defence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toy_rivals import artifact

from lightning_modules import Decoy, Prior, TargetNetwork

PRIOR = {"latent_dim": 8, "image_size": 32, "width": 4, "critic_width": 4}


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder: Path = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    modules = {"target": (TargetNetwork, {"n_outputs": 3}), "prior": (Prior, PRIOR)}
    return {
        name: artifact(folder / name, f"lightning_modules.{kind.__name__}", arguments, kind(**arguments))
        for name, (kind, arguments) in modules.items()
    }


def released(defence: Decoy, images: torch.Tensor, number: int = 0) -> torch.Tensor:
    with torch.no_grad():  # as Lightning predicts
        batch = {"number": number, "row": torch.arange(len(images)), "image": images}
        return defence.predict_step(batch, 0)["features"]


IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_the_answer_is_that_of_the_face_and_the_feature_is_not(networks: dict[str, str]) -> None:
    defence = Decoy(**networks, steps=100).eval()
    features, raw = released(defence, IMAGES), defence.encoder(IMAGES)
    strangers = defence.encoder(defence.model.generator(torch.randn(2, 8)))
    assert (defence.head(features) - defence.head(raw)).norm() < 0.1 * (
        defence.head(strangers) - defence.head(raw)
    ).norm()
    assert (features - raw).norm() > 0.5 * (strangers - raw).norm()


def test_under_a_secret_every_query_shows_the_same_stranger(networks: dict[str, str]) -> None:
    """So averaging queries shows him again; without one each query has its own."""
    for secret, same in (("a", True), (None, False)):
        first, again = (
            released(Decoy(**networks, secret=secret, steps=5, query=query).eval(), IMAGES, number=query)
            for query in (0, 1)
        )
        assert torch.allclose(first, again, atol=1e-5) == same
