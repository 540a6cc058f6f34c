"""The scaling part: one protected folder of a few painted faces, in a process of its own."""

from __future__ import annotations

import pytest
import torch
from tqdm import tqdm

from experiments.bench.scaling import FULL, Case, Sizes, rows


def test_one_size_grows_while_the_others_stay() -> None:
    """Otherwise the growth would be of two things at once."""
    for grows, column in (("images", "images"), ("latent size", "latent_dim"), ("batch", "batch")):
        cases = [case._asdict() for name, case in FULL.cases if name == grows]
        values = [case.pop(column) for case in cases]
        assert values == sorted(set(values))
        assert len(values) > 2
        assert all(case == cases[0] for case in cases)


@pytest.mark.slow
def test_time_and_memory_are_those_of_the_real_command() -> None:
    sizes = Sizes(
        images=(4,),
        latents=(8,),
        batches=(2,),
        few=4,
        latent=8,
        batch=2,
        image_size=32,
        width=4,
        iterations=1,
    )
    assert {case for _, case in sizes.cases} == {Case(4, 8, 2)}, "one run is enough for this test"
    with tqdm(total=0, disable=True) as bar:
        found = rows(sizes, bar, torch.device("cpu"))
    assert [row["case"] for row in found] == ["by images", "by latent size", "by batch"]
    for row in found:
        assert 0 < row["seconds_per_image"] < 60
        assert 100 < row["peak_mbyte"] < 10_000, "torch alone takes hundreds of megabytes"
