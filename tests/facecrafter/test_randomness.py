"""Seeds made of several numbers."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from facecrafter.randomness import seed_of, seeded


def test_a_seed_is_numpys_own_mixture_without_its_last_bit() -> None:
    """Features and shuffles that are on disk were drawn from these seeds."""
    expected = int(np.random.SeedSequence([7, 0, 3]).generate_state(1, np.uint64)[0]) // 2
    assert seed_of(7, 0, 3) == expected
    assert torch.equal(
        torch.rand(4, generator=seeded(7, 0, 3)),
        torch.rand(4, generator=torch.Generator().manual_seed(expected)),
    )


def test_neighbours_share_no_seed() -> None:
    """Were (1, 0) and (0, 1) one, two queries would draw the same noise."""
    seeds = [seed_of(*parts) for parts in itertools.product(range(8), repeat=3)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
