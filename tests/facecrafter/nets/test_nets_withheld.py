"""The rule by which a channel counts as withheld, on features made by hand."""

from __future__ import annotations

import pytest
import torch
from small_networks import seeded
from torch import Tensor

from facecrafter.nets.withheld import Fill, absent


def public(silent: dict[int, int], images: int = 100) -> Tensor:
    """Features (N, 4, 2, 2) above zero; of channel c the first `silent[c]` images are zero throughout."""
    features = 1 + torch.rand(images, 4, 2, 2, generator=seeded(1))
    for channel, count in silent.items():
        features[:count, channel] = 0
    return features


def learnt(features: Tensor) -> Fill:
    fill = Fill((4, 2, 2))
    fill.learn(features.split(7))
    return fill


def test_a_channel_is_absent_where_every_position_is_exactly_zero() -> None:
    """A channel that is small, or zero at most positions, still shows a face."""
    features = torch.zeros(1, 4, 2, 2)
    features[0, 1, 1, 1] = 1e-30
    features[0, 2, 0, 0] = torch.nan
    features[0, 3] = -0.0
    assert absent(features).tolist() == [[True, False, False, True]]


def test_zeros_count_as_withheld_where_fewer_than_one_public_image_in_20_has_them() -> None:
    """Otherwise dead channels and units behind a ReLU were no evidence, or dropped ones were."""
    fill = learnt(public({0: 4, 1: 5, 2: 100}))
    assert fill.absence.tolist() == pytest.approx([0.04, 0.05, 1, 0])
    assert fill.told(torch.zeros(2, 4, 2, 2)).shape == (2, 4, 1, 1)
    assert fill.told(torch.zeros(1, 4, 2, 2)).flatten().tolist() == [False, True, True, False]
    assert fill.told(torch.ones(1, 4, 2, 2)).all()


def test_what_was_withheld_is_the_mean_of_images_that_show_it_and_all_else_is_left_alone() -> None:
    features = public({0: 4, 1: 50})
    fill, sent = learnt(features), public({})[:3].clone()
    sent[0, 0], sent[1, 1] = 0, 0
    filled = fill(sent)
    torch.testing.assert_close(filled[0, 0], features[4:, 0].mean(dim=0))
    expected = sent.clone()
    expected[0, 0] = filled[0, 0]
    assert torch.equal(filled, expected)
    assert torch.equal(fill(filled), filled)


def test_before_anything_was_learnt_nothing_counts_as_withheld() -> None:
    """Otherwise a network that was never shown a feature would invent what to put in place of zeros."""
    fill, features = Fill((4, 2, 2)), public({0: 50, 1: 100})
    assert not fill.has_learnt
    assert torch.equal(fill(features), features)
    assert learnt(features).has_learnt


def test_how_the_images_are_divided_changes_nothing() -> None:
    features = public({0: 3})
    first, second = Fill((4, 2, 2)), Fill((4, 2, 2))
    first.learn([features])
    second.learn(features.split(9))
    second.learn(features.split(9))  # nothing of what was learnt before is left
    torch.testing.assert_close(second.state_dict(), first.state_dict())


def test_features_of_another_shape_are_refused() -> None:
    """Broadcast to what the decoder reads, they would give an image that means nothing."""
    with pytest.raises(RuntimeError, match="size"):
        learnt(public({}))(torch.ones(1, 4, 1, 1))
