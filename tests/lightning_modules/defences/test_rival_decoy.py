"""A stranger's feature with this face's answer, as a defence."""

from __future__ import annotations

import pytest
import torch
from toy_rivals import released, target_and_prior

from lightning_modules import Decoy


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return target_and_prior(tmp_path_factory.mktemp("networks"))


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
