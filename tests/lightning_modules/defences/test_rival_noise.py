"""Noise is as strong as it says, and the share of dropped channels is exact."""

from __future__ import annotations

import pytest
import torch
from toy_rivals import toy_target

from lightning_modules import ChannelDropout, GaussianNoise


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> str:
    return toy_target(tmp_path_factory.mktemp("networks"))


def images(count: int = 4) -> torch.Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_noise_is_relative_to_each_features_own_deviation(target: str) -> None:
    """An image that is ten times stronger gets noise ten times stronger, whatever stands beside it."""
    defence = GaussianNoise(target, sigma=0.3)
    with torch.no_grad():
        defence.encoder[0].weight *= torch.tensor([1.0, 2.0, 0.1, 1.0])[:, None, None, None]
        raw = defence.encoder(images())
        noise = defence.protect(images(), seeded()) - raw
    for one, feature in zip(noise, raw, strict=True):
        assert one.std() == pytest.approx(0.3 * feature.numpy().std(), rel=0.1)
        assert abs(one.mean()) < 0.1 * one.std()
    alone = defence.protect(images()[:1], seeded())
    torch.testing.assert_close(alone, (raw + noise)[:1])


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.25, 1), (0.5, 2), (0.7, 3), (1.0, 4)])
def test_the_share_of_dropped_channels_is_exact_and_the_rest_untouched(
    target: str, share: float, expected: int
) -> None:
    defence = ChannelDropout(target, share)
    raw, kept = defence.encoder(images(16)), defence.protect(images(16), seeded())
    dropped = (kept == 0).all(dim=(2, 3))
    assert (dropped.sum(dim=1) == expected).all()
    assert torch.equal(kept[~dropped], raw[~dropped])
    if 0 < expected < 4:
        assert len(dropped.unique(dim=0)) > 1, "each image draws its own channels"


def test_only_the_generator_is_random(target: str) -> None:
    for defence in (GaussianNoise(target, 1.0), ChannelDropout(target, 0.5)):
        assert torch.equal(defence.protect(images(), seeded()), defence.protect(images(), seeded()))


def test_strengths_without_meaning_are_refused(target: str) -> None:
    with pytest.raises(ValueError, match="sigma"):
        GaussianNoise(target, -0.1)
    with pytest.raises(ValueError, match="share"):
        ChannelDropout(target, 1.5)
