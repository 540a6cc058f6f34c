"""Protected pictures matched with photographs: against Gaussians written out, and on people made up."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from facecrafter.metrics.matching import Channel, matched, of_strangers
from facecrafter.metrics.same_person import SamePerson

K = 4


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def people() -> SamePerson:
    """In coordinates of their own: within a person one, between people as much as `spread`."""
    spread = torch.tensor([0.0, 0.5, 2.0, 8.0], dtype=torch.float64)
    return SamePerson(torch.zeros(K, dtype=torch.float64), torch.eye(K, dtype=torch.float64), spread)


def some_channel(rng: torch.Generator) -> Channel:
    root = torch.randn(K, K, generator=rng, dtype=torch.float64)
    gain = torch.eye(K, dtype=torch.float64) + 0.3 * torch.randn(K, K, generator=rng, dtype=torch.float64)
    return Channel(gain, torch.randn(K, generator=rng, dtype=torch.float64), 0.3 * root @ root.T)


def pictures(people: SamePerson, count: int, each: int, rng: torch.Generator) -> Tensor:
    """Coordinates (count, each, K) of so many people's pictures."""
    where = torch.randn(count, 1, K, generator=rng, dtype=torch.float64) * people.spread.sqrt()
    return where + torch.randn(count, each, K, generator=rng, dtype=torch.float64)


def log_density(
    probe: Tensor,
    photographs: Tensor,
    people: SamePerson,
    channel: Channel,
    queries: int,
    known_by: Channel | None = None,
) -> Tensor:
    """Of one protected picture given one person's photographs: the joint Gaussian of both, conditioned."""
    n, known_by = len(photographs), known_by or Channel.transparent(K)
    shared, own = torch.diag(people.spread), torch.eye(K, dtype=torch.float64)
    seen = known_by.gain.T @ shared @ known_by.gain
    error = known_by.gain.T @ known_by.gain + known_by.noise
    ones, each = torch.ones(n, n, dtype=torch.float64), torch.eye(n, dtype=torch.float64)
    known = torch.kron(ones, seen) + torch.kron(each, error)
    cross = torch.kron(ones[:1], channel.gain.T @ shared @ known_by.gain)
    alone = channel.gain.T @ (shared + own) @ channel.gain + channel.noise / queries
    mean = channel.offset + cross @ torch.linalg.solve(known, (photographs - known_by.offset).flatten())
    covariance = alone - cross @ torch.linalg.solve(known, cross.T)
    return torch.distributions.MultivariateNormal(mean, covariance).log_prob(probe)


def test_scores_are_those_of_the_joint_gaussian(people: SamePerson, rng: torch.Generator) -> None:
    """Two people with one photograph each, one with three, and somebody with none; up to one constant: with
    another one for strangers, a ratio to them would be off by it for everybody."""
    channel = some_channel(rng)
    identities = torch.tensor([0, 1, 2, 2, 2])
    known = torch.randn(5, K, generator=rng, dtype=torch.float64)
    sent = torch.randn(6, K, generator=rng, dtype=torch.float64)
    scores = matched(people, channel, sent, known, identities, queries=3)
    expected = torch.stack(
        [
            torch.stack([log_density(one, known[identities == p], people, channel, 3) for p in range(3)])
            for one in sent
        ]
    )
    torch.testing.assert_close(scores - scores[:, :1], expected - expected[:, :1])
    shown = torch.diag(people.spread) + torch.eye(K, dtype=torch.float64)
    covariance = channel.gain.T @ shown @ channel.gain + channel.noise / 3
    stranger = torch.distributions.MultivariateNormal(channel.offset, covariance).log_prob(sent)
    found = of_strangers(people, channel, sent, queries=3)
    torch.testing.assert_close(scores - found[:, None], expected - stranger[:, None])


def test_photographs_that_were_protected_too_are_read_as_such(
    people: SamePerson, rng: torch.Generator
) -> None:
    """An attacker who has photographs protected compares like with like; taken for raw ones, what the
    defence does to all of them would pass for what tells people apart."""
    channel = some_channel(rng)
    identities = torch.tensor([0, 1, 2, 2, 2])
    known = torch.randn(5, K, generator=rng, dtype=torch.float64)
    sent = torch.randn(6, K, generator=rng, dtype=torch.float64)
    scores = matched(people, channel, sent, known, identities, 3, known_by=channel)
    expected = torch.stack(
        [
            torch.stack(
                [log_density(one, known[identities == p], people, channel, 3, channel) for p in range(3)]
            )
            for one in sent
        ]
    )
    torch.testing.assert_close(scores - scores[:, :1], expected - expected[:, :1])


def test_through_nothing_it_is_the_comparison_of_raw_pictures(
    people: SamePerson, rng: torch.Generator
) -> None:
    identities = torch.tensor([0, 0, 1, 2])
    known = torch.randn(4, K, generator=rng, dtype=torch.float64)
    sent = torch.randn(5, K, generator=rng, dtype=torch.float64)
    scores = matched(people, Channel.transparent(K), sent, known, identities)
    torch.testing.assert_close(scores, people.scores(sent, known, identities))


def test_a_channel_is_learnt_from_many_pairs(people: SamePerson, rng: torch.Generator) -> None:
    channel = some_channel(rng)
    raw = pictures(people, 20000, 1, rng)[:, 0]
    noise = (
        torch.randn(raw.shape, generator=rng, dtype=torch.float64) @ torch.linalg.cholesky(channel.noise).T
    )
    found = Channel.learn(raw, raw @ channel.gain + channel.offset + noise)
    torch.testing.assert_close(found.gain, channel.gain, atol=0.03, rtol=0)
    torch.testing.assert_close(found.offset, channel.offset, atol=0.03, rtol=0)
    torch.testing.assert_close(found.noise, channel.noise, atol=0.05, rtol=0.05)


def test_few_pairs_of_what_changes_nothing_leave_the_comparison_as_it_is(
    people: SamePerson, rng: torch.Generator
) -> None:
    """A regression from zero would forget what stays with a person, and its errors are too small."""
    raw = pictures(people, 6, 1, rng)[:, 0]
    found = Channel.learn(raw, raw)
    torch.testing.assert_close(found.gain, torch.eye(K, dtype=torch.float64))
    assert found.noise.abs().max() < 1e-5
    noisy = Channel.learn(raw, raw + torch.randn(raw.shape, generator=rng, dtype=torch.float64))
    assert noisy.noise.diagonal().mean() > 0.5


def test_knowing_what_was_done_names_more_people(people: SamePerson, rng: torch.Generator) -> None:
    channel = some_channel(rng)
    many = pictures(people, 2000, 1, rng)[:, 0]
    found = Channel.learn(many, many @ channel.gain + channel.offset)
    shown = pictures(people, 30, 4, rng)
    identities = torch.arange(30).repeat_interleave(3)
    sent = shown[:, 3] @ channel.gain + channel.offset
    hits = [
        (
            matched(people, one, sent, shown[:, :3].reshape(-1, K), identities).argmax(dim=1)
            == torch.arange(30)
        )
        .double()
        .mean()
        for one in (Channel.transparent(K), found)
    ]
    assert hits[1] > hits[0] + 0.1


def test_what_cannot_be_told_is_named(people: SamePerson) -> None:
    one = torch.zeros(1, K)
    with pytest.raises(ValueError, match="1 pairs do not tell"):
        Channel.learn(one, one)
    with pytest.raises(ValueError, match="identity 0 has no known photograph"):
        matched(people, Channel.transparent(K), one, one, torch.tensor([1]))
