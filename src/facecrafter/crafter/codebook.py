"""Few words for all answers: how much leaves the device at most is a number that is chosen, and proved."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STEPS = 50
"""Of Lloyd's, at most, between two splits: they come to rest in ten or twenty."""
TURNS = 8
"""Of the power iteration for the direction of a split, which need not be exact."""


class Codebook(nn.Module):
    """a' = w_c, c = argmin_j ‖(a − v_j)/s‖: for A answers the word of the nearest of 2^b centres.

    The centres v are Linde, Buzo and Gray's (1980): one, the mean, and as often as wanted each is split in
    two and all are moved to the mean of the answers that are nearest to them. s are the spreads of the
    answers. A word w_j is v_j, stretched about the mean until each answer has the spread that it had, for
    which f's thresholds are made.

    Whoever sees a' knows which of 2^b words it is, and nothing else. So whatever they try, and whatever else
    they know, they are right at most 2^b times as often as without it: among M people who are equally likely
    to them in 2^b/M of the cases (maximal leakage, Issa, Wagner and Kamath 2020, of b bits; that of several
    pictures of a person adds up).

    Args:
        answers: A.
        bits: the most that b can be.

    Attributes:
        bits: b.
        mean, spread: (A,), of the answers.
        centres, words: (2^(bits + 1) − 2, A), those of one bit first; centres are in units of the spread,
            from the mean.

    Raises:
        ValueError: there is to be no bit.
    """

    def __init__(self, answers: int, bits: int = 10) -> None:
        super().__init__()
        if bits < 1:
            raise ValueError(f"bits={bits} must be at least 1")
        self.bits = bits
        self.mean = nn.Parameter(torch.zeros(answers))
        self.spread = nn.Parameter(torch.ones(answers))
        self.centres = nn.Parameter(torch.zeros(2 ** (bits + 1) - 2, answers))
        self.words = nn.Parameter(torch.zeros(2 ** (bits + 1) - 2, answers))

    def forward(self, answers: Tensor) -> Tensor:
        """(N, A) -> (N, A), of at most 2^b different rows."""
        chosen = _of_level(self.bits)
        return self.words[chosen][_nearest((answers - self.mean) / self.spread, self.centres[chosen])]

    @torch.no_grad()
    def learn(self, answers: Tensor) -> Tensor:
        """Find the centres, and what their words are.

        Args:
            answers: (N, A).

        Returns:
            The share of the answers' variance that is between the centres, for each number of bits (bits,).

        Raises:
            ValueError: no answer varies.
        """
        numbers = answers.double()
        mean, spread = numbers.mean(dim=0), numbers.std(dim=0, correction=0)
        if not spread.any():
            raise ValueError("none of f's answers varies from one picture to the next")
        varies = spread > 0
        self.mean.copy_(mean)
        self.spread.copy_(torch.where(varies, spread, 1.0))
        numbers = (numbers - mean)[:, varies] / spread[varies]
        centres, shares = numbers.new_zeros(1, numbers.shape[1]), []
        for bits in range(1, self.bits + 1):
            centres = _at_rest(numbers, _split(numbers, centres))
            told = centres[_nearest(numbers, centres)]
            between = told.std(dim=0, correction=0)
            stretched = torch.where(between > 0, centres / between, 0.0)
            chosen = _of_level(bits)
            self.centres[chosen] = mean.new_zeros(2**bits, len(mean)).masked_scatter(varies, centres).float()
            spoken = mean.new_zeros(2**bits, len(mean)).masked_scatter(varies, stretched)
            self.words[chosen] = (mean + spread * spoken).float()
            shares.append(between.square().mean())
        return torch.stack(shares)


def _of_level(bits: int) -> slice:
    return slice(2**bits - 2, 2 ** (bits + 1) - 2)


def _nearest(numbers: Tensor, centres: Tensor) -> Tensor:
    """Which of K centres (K, A) is nearest to each of N rows (N, A): (N,), the first of equals."""
    return torch.cdist(numbers, centres).argmin(dim=1)


def _split(numbers: Tensor, centres: Tensor) -> Tensor:
    """Each centre, one spread of what is nearest to it along its main direction forward and back: (2K, A)."""
    nearest = _nearest(numbers, centres)
    found = []
    for number, centre in enumerate(centres):
        apart = numbers[nearest == number] - centre
        found += [centre + _main(apart), centre - _main(apart)]
    return torch.stack(found)


def _main(apart: Tensor) -> Tensor:
    """The direction (A,) along which rows (N, A) vary most, as long as they vary; 0 where they do not."""
    if not apart.any():
        return apart.new_zeros(apart.shape[1])
    direction = F.normalize(apart[apart.norm(dim=1).argmax()], dim=0)
    for _ in range(TURNS):
        direction = F.normalize(apart.T @ (apart @ direction), dim=0)
    spread: Tensor = (apart @ direction).square().mean().sqrt()
    return direction * spread


def _at_rest(numbers: Tensor, centres: Tensor) -> Tensor:
    """The centres after Lloyd's steps; one to which nothing is nearest stays."""
    for _ in range(STEPS):
        nearest = _nearest(numbers, centres)
        counts = torch.bincount(nearest, minlength=len(centres))[:, None]
        sums = torch.zeros_like(centres).index_add_(0, nearest, numbers)
        moved = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres
