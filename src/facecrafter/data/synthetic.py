"""Synthetic faces: seeded pictures of people who do not exist, with labels that are known exactly."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from .decode import Pixels
from .people import ATTRIBUTES, draw_moments, draw_people, label
from .portrait import Portrait
from .table import FaceTable, find_columns

MIN_SIZE, MAX_SIZE = 32, 128
_PIXELS = 2**18
"""Painted at once: few enough that a layer stays in the processor's cache, many beside the cost of a call."""


def check_size(size: int) -> None:
    """Raise ValueError for a size that faces are not painted at."""
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ValueError(f"synthetic faces have sides of {MIN_SIZE} to {MAX_SIZE} pixels, not {size}")


def render(seed: int, identity: Tensor, number: Tensor, size: int) -> Tensor:
    """Pictures float32 (N, 3, size, size) in [0, 1] of the people ``identity`` int64 (N,), each at its moment
    ``number``.

    A picture depends on (seed, identity, number) alone. Raises ValueError for a size outside 32 to 128.
    """
    check_size(size)
    return Portrait(draw_people(seed, identity), draw_moments(seed, identity, number), size).paint()


def attributes_of(seed: int, identity: Tensor, number: Tensor) -> Tensor:
    """The ATTRIBUTES of the same pictures, uint8 (N, A), without painting them."""
    return label(draw_people(seed, identity), draw_moments(seed, identity, number))


def synthetic_table(
    seed: int, n_identities: int, images_per_identity: int, attributes: Sequence[str] | None = None
) -> FaceTable:
    """Names 'iiiii/nnnn' of picture n of identity i, and their labels (None: all ATTRIBUTES)."""
    columns = find_columns("synthetic faces", ATTRIBUTES, ATTRIBUTES if attributes is None else attributes)
    identity = torch.arange(n_identities).repeat_interleave(images_per_identity)
    number = torch.arange(images_per_identity).repeat(n_identities)
    names = [f"{i:05d}/{n:04d}" for i, n in zip(identity.tolist(), number.tolist(), strict=True)]
    people = [name[:5] for name in names]
    flags = attributes_of(seed, identity, number)[:, columns].numpy()
    return FaceTable.of("synthetic faces", names, people, flags, [ATTRIBUTES[column] for column in columns])


@contextmanager
def _one_thread() -> Iterator[None]:
    """A layer is too little work to share: threads that wait for each other a thousand times take ten times
    as long as one, where other work is done beside them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def synthetic_pictures(seed: int, names: list[str], size: int) -> Iterator[tuple[Pixels, str]]:
    """Pixels (3, size, size) uint8 of the named pictures and the sha256 of those pixels."""
    keys = torch.tensor([[int(part) for part in name.split("/")] for name in names])
    for chunk in torch.split(keys, _PIXELS // size**2):
        with _one_thread():
            picture = render(seed, chunk[:, 0].contiguous(), chunk[:, 1].contiguous(), size)
        for pixels in (picture * 255).round().to(torch.uint8).numpy():
            yield pixels, hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()
