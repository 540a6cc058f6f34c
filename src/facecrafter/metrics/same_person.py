"""Who is who from a few numbers of each picture, by what people in general have in common with themselves.

What an attacker does who has f's answers, or attributes, and no picture: learn on strangers which numbers
stay with a person and which change from picture to picture, then compare with known photographs. It is the
two-covariance model (Brümmer and De Villiers 2010; PLDA of full rank): a person is a point, drawn from a
Gaussian, and a picture of them that point and Gaussian noise. Where that holds, no other comparison names
more people.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

SHRINKAGE = 0.02
"""Part of the covariance within people that is replaced by its mean on the diagonal: with few strangers a
direction in which these happen not to vary would decide everything."""
VARIES = 1e-6
"""Part of the largest standard deviation; a direction that varies by less says nothing: it is rounding."""
FEW = 4
"""Pictures of strangers for each number, below which these are not whitened: noise would be as large as they
are, along every direction."""


@dataclass(frozen=True)
class SamePerson:
    """The two covariances, in coordinates in which that within people is one and that between is diagonal.

    Attributes:
        mean: (A,) over people.
        axes: (A, K), numbers minus the mean times it are coordinates; K is A, or less where some never vary.
        spread: (K,) at least 0, the variance between people along each coordinate.
    """

    mean: Tensor
    axes: Tensor
    spread: Tensor

    @classmethod
    def learn(cls, numbers: Tensor, identities: Tensor) -> SamePerson:
        """From pictures of strangers.

        Args:
            numbers: (N, A), of each picture.
            identities: (N,) int64.

        Raises:
            ValueError: a number is not finite, or there are not two people of whom one has two pictures.
        """
        _check_finite(numbers)
        _, person, counts = torch.unique(identities, return_inverse=True, return_counts=True)
        degrees = len(identities) - len(counts)
        if len(counts) < 2 or degrees < 1:
            raise ValueError(
                f"{len(identities)} pictures of {len(counts)} strangers do not tell what stays with a "
                "person: there must be two people, and two pictures of one of them"
            )
        numbers = numbers.double()
        means = person_means(numbers, person, len(counts))
        apart = numbers - means[person]
        within = _shrunk(apart.T @ apart / degrees)
        mean = means.mean(dim=0)
        centred = means - mean
        # The mean of n pictures of a person varies by within/n too, which is no difference of people.
        between = centred.T @ centred / (len(counts) - 1) - within * (1 / counts).mean()
        scale, directions = torch.linalg.eigh(within)
        whiten = directions / scale.sqrt()
        spread, rotation = torch.linalg.eigh(whiten.T @ between @ whiten)
        return cls(mean, whiten @ rotation, spread.clamp(min=0))

    @classmethod
    def learn_white(cls, numbers: Tensor, identities: Tensor) -> SamePerson:
        """`learn` along the principal directions of the numbers, each in units in which they vary by one.

        The least that a direction varies by within people depends on units, and on which numbers go together:
        of a network's answers as they are it names fewer people. Arguments and errors are those of `learn`.
        """
        _check_finite(numbers)
        if len(numbers) < FEW * numbers.shape[1]:
            return cls.learn(numbers, identities)
        white = _whitening(numbers)
        found = cls.learn(numbers.double() @ white, identities)
        _, person, counts = torch.unique(identities, return_inverse=True, return_counts=True)
        mean = person_means(numbers.double(), person, len(counts)).mean(dim=0)
        return cls(mean, white @ found.axes, found.spread)

    @property
    def bits(self) -> float:
        """I(identity; numbers) where the model holds, ½ Σ log₂(1 + spread): what a picture's numbers say of
        who it is."""
        return float((1 + self.spread).log2().sum() / 2)

    def coordinates(self, numbers: Tensor) -> Tensor:
        """(N, A) -> (N, K) float64.

        Raises:
            ValueError: a number is not finite.
        """
        _check_finite(numbers)
        return (numbers.double() - self.mean) @ self.axes

    def scores(self, numbers: Tensor, known: Tensor, identities: Tensor) -> Tensor:
        """Log-density of each of N pictures, if it is of each of P people with known photographs.

        Args:
            numbers: (N, A).
            known: (M, A), of photographs.
            identities: (M,) int64 in 0..P-1, each at least once.

        Returns:
            (N, P) float64, up to a constant.

        Raises:
            ValueError: somebody has no photograph.
        """
        people = int(identities.max()) + 1
        counts = torch.bincount(identities, minlength=people).double()[:, None]
        if not counts.all():
            raise ValueError(f"identity {int(counts[:, 0].argmin())} has no known photograph")
        means = person_means(self.coordinates(known), identities, people)
        # Of n photographs with mean m, a person lies at n·s/(n·s + 1)·m, give or take s/(n·s + 1).
        weight = counts * self.spread / (counts * self.spread + 1)
        expected, variance = weight * means, 1 + weight / counts
        probes = self.coordinates(numbers)
        distance = torch.stack([((probe - expected).square() / variance).sum(dim=1) for probe in probes])
        return -(distance + variance.log().sum(dim=1)) / 2

    def likeness(self, numbers: Tensor) -> Tensor:
        """Log-likelihood ratio of one person to two, of every two of N pictures: (N, A) -> (N, N) float64."""
        found = self.coordinates(numbers)
        total = 1 + self.spread
        # Two of one person have variances s + 1 and covariance s along each coordinate.
        determinant = total.square() - self.spread.square()
        own = (found.square() * (1 / total - total / determinant)).sum(dim=1) / 2
        together = (found * (self.spread / determinant)) @ found.T
        constant = (total.log() - determinant.log() / 2).sum()
        return own[:, None] + own + together + constant


def fano(bits: float, people: int) -> float:
    """The largest share of pictures whose person can be named, of so many who are equally likely, by whatever
    tells no more than `bits` about who it is: (I + 1)/log₂ M, at most 1 (Fano's inequality)."""
    return min(1.0, (bits + 1) / math.log2(people))


def person_means(values: Tensor, person: Tensor, people: int) -> Tensor:
    """(P, A), of the rows (N, A) of each person."""
    sums = values.new_zeros(people, values.shape[1]).index_add_(0, person, values)
    return sums / torch.bincount(person, minlength=people)[:, None]


def _check_finite(numbers: Tensor) -> None:
    if not numbers.isfinite().all():
        raise ValueError("a number is not finite: what made it is broken")


def _whitening(numbers: Tensor) -> Tensor:
    """(A, K), the principal directions along which numbers (N, A) vary, over how much they do."""
    centred = numbers.double() - numbers.double().mean(dim=0)
    _, scale, directions = torch.linalg.svd(centred, full_matrices=False)
    varies = scale > VARIES * scale[:1]  # the largest first
    axes: Tensor = directions[varies].T / scale[varies] * len(numbers) ** 0.5
    return axes


def _shrunk(covariance: Tensor) -> Tensor:
    scale = covariance.diagonal().mean().clamp(min=1e-12)
    return (1 - SHRINKAGE) * covariance + SHRINKAGE * scale * torch.eye(len(covariance)).to(covariance)
