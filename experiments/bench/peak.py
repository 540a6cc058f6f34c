"""What a machine does without effort: plain matrix products and plain copies, to hold layers against."""

from __future__ import annotations

from collections import Counter

import torch

from experiments.bench.timing import Action
from experiments.bench.work import Product

PEAK_SIDE = {"cpu": 2048, "cuda": 8192}
"""The side of the square product that counts as a device's peak: large enough to fill it."""
_LARGEST_PIECE = 2**27  # bytes: more than any cache holds


def multiplication(products: Counter[Product], dtype: torch.dtype, device: torch.device) -> Action:
    """Matrix products of these sizes, as often as they occur, one after the other."""
    pairs = [
        (
            torch.ones(batch, m, k, dtype=dtype, device=device),
            torch.ones(batch, k, n, dtype=dtype, device=device),
        )
        for batch, m, k, n in products
    ]
    pairs = [(a, b) if len(a) > 1 else (a[0], b[0]) for a, b in pairs]

    def multiply() -> None:
        for (a, b), times in zip(pairs, products.values(), strict=True):
            for _ in range(times):
                torch.matmul(a, b)

    return multiply


def copying(moved: int, device: torch.device) -> Action:
    """A copy that reads and writes `moved` bytes in all."""
    pieces, rest = divmod(moved // 2, _LARGEST_PIECE)
    source = torch.zeros(_LARGEST_PIECE if pieces else rest, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)

    def copy() -> None:
        for _ in range(pieces):
            target.copy_(source)
        target[:rest].copy_(source[:rest])

    return copy
