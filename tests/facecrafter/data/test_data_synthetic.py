"""Synthetic faces: each picture depends on its own name alone, and its labels are visible in it."""

from __future__ import annotations

import pytest
import torch

from facecrafter.data.draws import Draws
from facecrafter.data.people import ATTRIBUTES
from facecrafter.data.synthetic import attributes_of, render, synthetic_pictures, synthetic_table

PEOPLE = torch.arange(6).repeat_interleave(4)
NUMBERS = torch.arange(4).repeat(6)


def test_pictures_do_not_depend_on_their_batch() -> None:
    together = render(0, PEOPLE, NUMBERS, 32)
    for position in (0, 5, 23):
        alone = render(0, PEOPLE[position : position + 1], NUMBERS[position : position + 1], 32)
        assert torch.equal(alone[0], together[position])


@pytest.mark.parametrize("size", [32, 45, 64, 128])
def test_any_size_gives_finite_pictures_within_range(size: int) -> None:
    picture = render(1, PEOPLE[:3], NUMBERS[:3], size)
    assert picture.shape == (3, 3, size, size)
    assert bool(((picture >= 0) & (picture <= 1)).all())
    assert float(picture.std()) > 0.1


@pytest.mark.parametrize("size", [16, 31, 129])
def test_other_sizes_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"not {size}"):
        render(0, PEOPLE, NUMBERS, size)


def test_seed_and_person_and_number_all_matter() -> None:
    base = render(0, PEOPLE[:1], NUMBERS[:1], 32)
    for seed, person, number in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        other = render(seed, torch.tensor([person]), torch.tensor([number]), 32)
        assert float((base - other).abs().mean()) > 0.02


def test_attributes_are_balanced_enough_for_an_auc() -> None:
    share = attributes_of(0, torch.arange(2000), torch.zeros(2000, dtype=torch.int64)).float().mean(0)
    assert len(ATTRIBUTES) >= 12
    rare = {
        name: value for name, value in zip(ATTRIBUTES, share.tolist(), strict=True) if not 0.15 < value < 0.85
    }
    assert rare == {}


def test_people_keep_their_traits_and_moments_pass() -> None:
    flags = attributes_of(0, torch.zeros(50, dtype=torch.int64), torch.arange(50)).float()
    varies = {name for name, value in zip(ATTRIBUTES, flags.std(0), strict=True) if value > 0}
    assert varies == {"Mouth_Open", "Raised_Eyebrows", "Smiling"}


def test_labels_can_be_read_from_pixels() -> None:
    """Dark skin darkens the middle of the face, unless labels and pictures come from different draws."""
    people, numbers = torch.arange(200), torch.zeros(200, dtype=torch.int64)
    cheeks = render(0, people, numbers, 32)[:, :, 17:21, 10:22].mean((1, 2, 3))
    dark = attributes_of(0, people, numbers)[:, ATTRIBUTES.index("Dark_Skin")].bool()
    pairs = cheeks[dark][:, None] < cheeks[~dark]
    assert float(pairs.float().mean()) > 0.9


def test_a_person_resembles_itself_more_than_others() -> None:
    """Nearest neighbour by plain pixels of the face finds the person far above chance (1 in 40)."""
    people, count = torch.arange(40).repeat_interleave(6), 6
    faces = render(3, people, torch.arange(count).repeat(40), 32)[:, :, 4:28, 6:26].flatten(1)
    distance = torch.cdist(faces, faces).fill_diagonal_(torch.inf)
    found = people[distance.argmin(1)]
    assert float((found == people).float().mean()) > 0.3


def test_table_and_pictures_agree_on_names() -> None:
    table = synthetic_table(0, 3, 2, ["Smiling", "Bald"])
    assert list(table.image) == [f"{i:05d}/{n:04d}" for i in range(3) for n in range(2)]
    assert table.attribute_names == ("Smiling", "Bald")
    pixels, digest = next(iter(synthetic_pictures(0, ["00002/0001"], 32)))
    expected = (render(0, torch.tensor([2]), torch.tensor([1]), 32)[0] * 255).round().to(torch.uint8)
    assert torch.equal(torch.from_numpy(pixels), expected)
    assert len(digest) == 64


def test_draws_are_uniform_and_independent_of_neighbouring_keys() -> None:
    keys = torch.arange(20000)
    stream = Draws(keys, torch.ones_like(keys))
    first, second = stream.uniform().double(), stream.uniform().double()
    assert float(first.mean()) == pytest.approx(0.5, abs=0.01)  # four standard errors of a uniform mean
    assert float(first.var()) == pytest.approx(1 / 12, abs=0.002)
    for other in (second, first.roll(1)):
        assert abs(float(torch.corrcoef(torch.stack([first, other]))[0, 1])) < 0.03
