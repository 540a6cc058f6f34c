"""Which pictures are protected together: the seeded manifest."""

from __future__ import annotations

import torch
from torch import Tensor


def manifest(rows: Tensor, batch_size: int, seed: int) -> list[Tensor]:
    """Shuffle ``rows`` (N,) into batches of at most ``batch_size`` whose sizes differ by one at most.

    Crafter's critic sees a batch as a distribution, so a small remainder at the end would be protected
    differently from the rest. Depends on the rows, the size and the seed alone, never on ranks or devices.
    """
    if batch_size < 1:
        raise ValueError(f"the manifest's batch size must be at least 1, not {batch_size}")
    if len(rows) == 0:
        return []
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    return list(rows[order].tensor_split(-(-len(rows) // batch_size)))
