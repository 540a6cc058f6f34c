"""Random numbers that depend on what they are for, and not on what was drawn before."""

from __future__ import annotations

import numpy as np
import torch


def seed_of(*parts: int) -> int:
    """A seed of 63 bits for these numbers, none negative; neighbouring numbers give unrelated seeds.

    PyTorch's generator of the CPU keeps 32 of them: enough for draws not to repeat, no secret.
    """
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seeded(*parts: int) -> torch.Generator:
    """A random generator on the CPU for these numbers, such as a seed, a batch and a query."""
    return torch.Generator().manual_seed(seed_of(*parts))
