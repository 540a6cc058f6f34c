"""Whose photograph shows the person of a protected feature, in the feature's own space.

Whoever has photographs of somebody encodes them, and asks how likely the protected feature is, were it of
the same person. What stays with a person is the two-covariance model's (`SamePerson`); what a defence does to
the coordinates of a picture is a `Channel`, learnt from pictures that the attacker had protected.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from facecrafter.metrics.same_person import SamePerson, person_means

PENALTIES = tuple(10.0**power for power in range(-3, 3))
"""Of a channel's ridge regression, in units of the raw coordinates' variance times the number of pairs."""


@dataclass(frozen=True)
class Channel:
    """c (1, K) -> c A + b and Gaussian noise of covariance N, c being the coordinates of a raw picture.

    Attributes:
        gain: A (K, K).
        offset: b (K,).
        noise: N (K, K).
    """

    gain: Tensor
    offset: Tensor
    noise: Tensor

    @classmethod
    def transparent(cls, size: int, device: torch.device | None = None) -> Channel:
        """That of no defence, for so many coordinates."""
        nothing = torch.zeros(size, size, dtype=torch.float64, device=device)
        return cls(torch.eye(size).to(nothing), nothing[0], nothing)

    @classmethod
    def learn(cls, raw: Tensor, sent: Tensor) -> Channel:
        """From pairs of coordinates; of all `PENALTIES` the one under which pairs that are left out are
        most likely.

        A is drawn to one, which is right where few pairs say little. N is that of pairs that are left out,
        as far as so few tell it, drawn to its diagonal.

        Args:
            raw: of the pictures (N, K).
            sent: of what the defence made of them (N, K).

        Raises:
            ValueError: fewer than two pairs.
        """
        if len(raw) < 2:
            raise ValueError(f"{len(raw)} pairs do not tell what a defence does; there must be two")
        x, moved = raw.double(), sent.double() - raw.double()
        at, by = x.mean(dim=0), moved.mean(dim=0)
        x, moved = x - at, moved - by
        values, vectors = torch.linalg.eigh(x.T @ x)
        rotated, products = x @ vectors, vectors.T @ (x.T @ moved)
        tried = []
        for penalty in PENALTIES:
            inverse = 1 / (values.clamp(min=0) + penalty * values.clamp(min=0).mean().clamp(min=1e-12))
            change = vectors @ (inverse[:, None] * products)
            leverage = 1 / len(x) + (rotated.square() * inverse).sum(dim=1)
            left_out = (moved - x @ change) / (1 - leverage).clamp(min=1e-3)[:, None]
            noise = _drawn_to_diagonal(left_out.T @ left_out / len(x), len(x))
            tried.append((_likelihood(left_out, noise), change, noise))
        _, change, noise = max(tried, key=lambda one: one[0])
        gain = torch.eye(len(change)).to(change) + change
        return cls(gain, at + by - at @ gain, noise)


def matched(
    people: SamePerson,
    channel: Channel,
    sent: Tensor,
    known: Tensor,
    identities: Tensor,
    queries: int = 1,
    known_by: Channel | None = None,
) -> Tensor:
    """Log-density of each of N protected pictures, if it is of each of P people with known photographs.

    Args:
        people: what stays with a person.
        channel: what the defence does.
        sent: coordinates of what it made of the pictures (N, K).
        known: those of the photographs (M, K).
        identities: (M,) int64 in 0..P-1, each at least once.
        queries: of how many queries `sent` is the mean.
        known_by: what was done to the photographs; without one they are raw.

    Returns:
        (N, P) float64, up to a constant.

    Raises:
        ValueError: somebody has no photograph.
    """
    counts = torch.bincount(identities)
    if not counts.all():
        raise ValueError(f"identity {int(counts.argmin())} has no known photograph")
    means = person_means(known.double(), identities, len(counts))
    scores = sent.double().new_empty(len(sent), len(counts))
    known_by = known_by or Channel.transparent(means.shape[1], means.device)
    for count in set(counts.tolist()):
        who = counts == count
        places, uncertainty = _placed(people, known_by, means[who], count)
        scores[:, who] = _log_densities(channel, sent, places, uncertainty, queries)
    return scores


def _placed(people: SamePerson, known_by: Channel, means: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Where people lie (P, K) and their covariance (K, K), from the means (P, K) of so many photographs each.

    A person p ~ N(0, S) has photographs p + w, w ~ N(0, I), of which a mean is pA + b and an error of
    covariance R = (AᵀA + N)/n: p lies at (m − b)QᵀAᵀS, Q = (AᵀSA + R)⁻¹, give or take S − SAQAᵀS. Of raw
    photographs that is n·s/(n·s + 1)·m, give or take s/(n·s + 1).
    """
    seen = people.spread[:, None] * known_by.gain
    varies = known_by.gain.T @ (seen + known_by.gain / count) + known_by.noise / count
    weight = torch.linalg.solve(varies, seen.T)
    return (means - known_by.offset) @ weight, torch.diag(people.spread) - seen @ weight


def of_strangers(people: SamePerson, channel: Channel, sent: Tensor, queries: int = 1) -> Tensor:
    """Log-density of each of N protected pictures, if it is of somebody with no known photograph.

    The arguments are those of `matched`.

    Returns:
        (N,) float64, up to the constant of `matched`.
    """
    nowhere = torch.zeros_like(people.spread)[None]
    return _log_densities(channel, sent, nowhere, torch.diag(people.spread), queries)[:, 0]


def _log_densities(
    channel: Channel, sent: Tensor, places: Tensor, uncertainty: Tensor, queries: int
) -> Tensor:
    """(N, P), of protected pictures of people at `places` (P, K), which are known by a covariance (K, K)."""
    expected = places @ channel.gain + channel.offset
    varies = channel.gain + uncertainty @ channel.gain
    factor = torch.linalg.cholesky(channel.gain.T @ varies + channel.noise / queries)
    whiten = torch.linalg.inv(factor).T
    probes, centres = sent.double() @ whiten, expected @ whiten
    distance = torch.stack([(centres - probe).square().sum(dim=1) for probe in probes])
    densities: Tensor = -distance / 2 - factor.diagonal().log().sum()
    return densities


def _drawn_to_diagonal(covariance: Tensor, pairs: int) -> Tensor:
    """As if as many more pairs as there are coordinates had shown the diagonal alone."""
    share = len(covariance) / (len(covariance) + pairs)
    floor = 1e-6 * covariance.diagonal().mean().clamp(min=1e-12)
    return (1 - share) * covariance + torch.diag(share * covariance.diagonal() + floor)


def _likelihood(errors: Tensor, noise: Tensor) -> float:
    """Of errors (N, K) drawn from N(0, `noise`), up to a constant."""
    factor = torch.linalg.cholesky(noise)
    standard = torch.linalg.solve_triangular(factor, errors.T, upper=False)
    return float(-standard.square().sum() / 2 - len(errors) * factor.diagonal().log().sum())
