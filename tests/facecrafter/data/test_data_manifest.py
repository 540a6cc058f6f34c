"""The manifest decides what is protected together; a lost or repeated row is a lost or repeated person."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from facecrafter.data.manifest import manifest


@given(st.integers(1, 300), st.integers(1, 70), st.integers(0, 1000))
def test_every_row_once_in_batches_of_equal_size(count: int, size: int, seed: int) -> None:
    rows = torch.arange(count) * 3
    batches = manifest(rows, size, seed)
    assert sorted(torch.cat(batches).tolist()) == rows.tolist()
    lengths = [len(batch) for batch in batches]
    assert max(lengths) <= size
    assert max(lengths) - min(lengths) <= 1
    assert all(torch.equal(a, b) for a, b in zip(batches, manifest(rows, size, seed), strict=True))


def test_batches_mix_neighbours() -> None:
    assert manifest(torch.arange(64), 64, 0)[0].tolist() != list(range(64))


def test_no_rows_and_no_size() -> None:
    assert manifest(torch.arange(0), 8, 0) == []
    with pytest.raises(ValueError, match="batch size"):
        manifest(torch.arange(4), 0, 0)
