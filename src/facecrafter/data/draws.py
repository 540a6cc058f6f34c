"""Random numbers that depend on a key alone: counter-based, so no picture's draws depend on another's."""

from __future__ import annotations

import torch
from torch import Tensor

# splitmix64 (Steele, Lea and Flood, 2014), its constants as signed 64-bit integers.
_GOLDEN, _FIRST, _SECOND = -7046029254386353131, -4658895280553007687, -7723592293110705685


def _shift(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)  # torch shifts the sign in


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _FIRST
    x = (x ^ _shift(x, 27)) * _SECOND
    return x ^ _shift(x, 31)


class Draws:
    """A stream of independent draws, (N,) float32 each, for N keys: tuples of int64 tensors (N,)."""

    def __init__(self, *key: Tensor) -> None:
        self._state = torch.zeros_like(key[0])
        for part in key:
            self._state = _mix(self._state + _GOLDEN + part)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Tensor:
        """The next draw, from [low, high)."""
        self._state = self._state + _GOLDEN
        return low + (high - low) * (_shift(_mix(self._state), 40).float() / 2**24)

    def chance(self, probability: float) -> Tensor:
        """The next draw: 1 with this probability, otherwise 0."""
        return (self.uniform() < probability).float()

    def colour(self, spread: float) -> Tensor:
        """A shift of red, green and blue (N, 3) within ±spread each."""
        return torch.stack([self.uniform(-spread, spread) for _ in range(3)], dim=1)
