"""Few words for all answers: how much leaves the device at most is a number that is chosen, and proved."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MOST = 16
"""Bits, 65,536 words: far more than a picture's answers tell."""
STEPS = 100
"""Of Lloyd's, at most, between two splits."""
AT_REST = 1e-4
"""Of the distortion, by which a step has to lower it for another one to follow."""
APART = 0.1
"""Of the way to the answers farthest from a centre, by which the two that it is split into stand off."""


class Codebook(nn.Module):
    """a' = w_c, c = argmin_j ‖(a − v_j)/s‖: for A answers the word of the nearest of 2^b centres.

    The centres v are Linde, Buzo and Gray's (1980): one, the mean, and as often as wanted each is split in
    two and all are moved to the mean of the answers that are nearest to them. s are the spreads of the
    answers. A word w_j is v_j, stretched about the mean until each answer has the spread that it had, for
    which f's thresholds are made; an answer of which the centres hold no more than chance is its mean.

    Whoever sees a' knows which of 2^b words it is, and nothing else. So whatever they try, and whatever else
    they know, they are right at most 2^b times as often as by the best guess without it: among M people who
    are equally likely to them in 2^b/M of the cases (maximal leakage, Issa, Wagner and Kamath 2020, of b
    bits). It is of one picture that gets one word: those of several pictures, framings or codebooks add up.

    Args:
        answers: A.
        bits: the most that b can be.

    Attributes:
        bits: b.
        mean, spread: (A,), of the answers.
        centres, words: (2^(bits + 1) − 2, A), those of one bit first; centres are in units of the spread,
            from the mean.

    Raises:
        ValueError: `bits` is not from 1 to `MOST`.
    """

    def __init__(self, answers: int, bits: int = 10) -> None:
        super().__init__()
        if not 1 <= bits <= MOST:
            raise ValueError(f"bits={bits} must lie between 1 and {MOST}")
        self.bits = bits
        self.mean = nn.Parameter(torch.zeros(answers))
        self.spread = nn.Parameter(torch.ones(answers))
        self.centres = nn.Parameter(torch.zeros(2 ** (bits + 1) - 2, answers))
        self.words = nn.Parameter(torch.zeros(2 ** (bits + 1) - 2, answers))

    def forward(self, answers: Tensor) -> Tensor:
        """(N, A) -> (N, A), of at most 2^b different rows.

        Raises:
            ArithmeticError: an answer is not finite; no word is near it.
        """
        if not answers.isfinite().all():
            raise ArithmeticError("an answer is not finite: the picture or the network is broken")
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
        numbers = torch.where(varies, (numbers - mean) / self.spread, 0.0)
        centres, shares = numbers.new_zeros(1, numbers.shape[1]), []
        for bits in range(1, self.bits + 1):
            centres = _at_rest(numbers, _split(numbers, centres))
            told = centres[_nearest(numbers, centres)]
            between = told.var(dim=0, correction=0)
            # Between as many centres, numbers that have nothing to do with them vary by so much.
            chance = (len(torch.unique(told, dim=0)) - 1) / len(numbers)
            stretch = torch.where(between > chance, between.clamp(min=chance).rsqrt(), 0.0)
            self.centres[_of_level(bits)] = centres.float()
            self.words[_of_level(bits)] = (mean + spread * stretch * (centres - told.mean(dim=0))).float()
            shares.append(between[varies].mean())
        return torch.stack(shares)


def _of_level(bits: int) -> slice:
    return slice(2**bits - 2, 2 ** (bits + 1) - 2)


def _nearest(numbers: Tensor, centres: Tensor) -> Tensor:
    """Which of K centres (K, A) is nearest to each of N rows (N, A): (N,), the first of equals.

    Row by row and in double precision: by matrix products the same answers might get another word in another
    batch.
    """
    apart = torch.cdist(numbers.double(), centres.double(), compute_mode="donot_use_mm_for_euclid_dist")
    return apart.argmin(dim=1)


def _split(numbers: Tensor, centres: Tensor) -> Tensor:
    """Two for each centre, on the line to the farthest of the rows (N, A) that it is nearest to: (2K, A)."""
    nearest = _nearest(numbers, centres)
    found = []
    for number, centre in enumerate(centres):
        apart = numbers[nearest == number] - centre
        off = APART * apart[apart.norm(dim=1).argmax()] if len(apart) else torch.zeros_like(centre)
        found += [centre + off, centre - off]
    return torch.stack(found)


def _at_rest(numbers: Tensor, centres: Tensor) -> Tensor:
    """The centres after Lloyd's steps; one to which nothing is nearest stays."""
    before = torch.tensor(torch.inf)
    for _ in range(STEPS):
        nearest = _nearest(numbers, centres)
        distortion = (numbers - centres[nearest]).square().sum()
        if distortion >= (1 - AT_REST) * before:
            break
        before = distortion
        counts = torch.bincount(nearest, minlength=len(centres))[:, None]
        sums = torch.zeros_like(centres).index_add_(0, nearest, numbers)
        centres = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
    return centres
