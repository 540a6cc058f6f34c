"""Algorithm 1 on small networks: the signs, what the batch may and may not change, and what ends a run."""

from __future__ import annotations

import pytest
import torch
from small_networks import seeded, small_model
from torch import Tensor, nn

from facecrafter.crafter.crafting import FeatureCrafting
from facecrafter.crafter.critic import CriticTraining
from facecrafter.crafter.implicit import ConjugateGradient, NeumannSeries
from facecrafter.crafter.inversion import AttackerModel, InnerProblem

INNER = InnerProblem(first=6, starts=1, refresh=0)
CRITIC = CriticTraining(steps=1, batch=4, width=4)


@pytest.fixture(scope="module")
def model() -> AttackerModel:
    return small_model()


def craft(model: AttackerModel, images: Tensor, iterations: int, beta: float = 1.0, **options):
    crafting = FeatureCrafting(model, beta, **{"inner": INNER, "critic": CRITIC, **options})
    state = crafting.start(images, seeded())
    return state, [crafting.step(state) for _ in range(iterations)]


class Brightness(nn.Module):
    """A critic that scores the mean pixel, times a weight that keeps its optimizer happy."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        return 100 * self.weight * images.flatten(1).mean(dim=1)


def test_features_move_towards_images_that_the_critic_takes_for_the_prior(model: AttackerModel) -> None:
    """With a wrong sign anywhere in lines 10 to 13 the inverted images would get darker."""
    images = torch.rand(4, 3, 32, 32, generator=seeded())
    crafting = FeatureCrafting(model, 0.0, inner=INNER, critic=CriticTraining(steps=0))
    state = crafting.start(images, seeded())
    state.critic.network = Brightness()
    scores = [-crafting.step(state)["privacy_loss"] for _ in range(25)]
    assert scores[-1] > scores[0] + 0.15


def test_a_huge_beta_keeps_the_raw_feature(model: AttackerModel) -> None:
    images = torch.rand(4, 3, 32, 32, generator=seeded())
    small, _ = craft(model, images, 12, beta=1e9)
    large, _ = craft(model, images, 12, beta=0.0)
    kept = (small.features - small.raw).square().mean()
    assert kept < 0.1 * (large.features - large.raw).square().mean()


def test_utility_loss_is_the_mean_square_per_element(model: AttackerModel) -> None:
    state, _ = craft(model, torch.rand(3, 3, 32, 32, generator=seeded()), 2)
    expected = sum(
        (f - raw).square().sum().item() / f.numel() for f, raw in zip(state.features, state.raw, strict=True)
    )
    crafting = FeatureCrafting(model, 1.0, inner=INNER, critic=CRITIC)
    assert crafting.step(state)["utility_loss"] == pytest.approx(expected / 3, rel=1e-5)


def test_same_seed_same_bits_other_seed_other_bits(model: AttackerModel) -> None:
    images = torch.rand(4, 3, 32, 32, generator=seeded())
    first, again = craft(model, images, 3)[0], craft(model, images, 3)[0]
    assert torch.equal(first.features, again.features)
    crafting = FeatureCrafting(model, 1.0, inner=INNER, critic=CRITIC)
    other = crafting.start(images, seeded(1))
    for _ in range(3):
        crafting.step(other)
    assert not torch.equal(first.features, other.features)


def test_the_callers_random_state_is_left_alone(model: AttackerModel) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    craft(model, torch.rand(2, 3, 32, 32, generator=seeded()), 1)
    assert torch.equal(torch.rand(3), expected)


def test_a_batch_of_one_is_crafted(model: AttackerModel) -> None:
    state, metrics = craft(model, torch.rand(1, 3, 32, 32, generator=seeded()), 2)
    assert torch.isfinite(state.features).all()
    assert all(torch.isfinite(torch.tensor(value)) for row in metrics for value in row.values())


def test_losses_and_health_are_reported_at_every_iteration(model: AttackerModel) -> None:
    _, metrics = craft(model, torch.rand(2, 3, 32, 32, generator=seeded()), 3)
    wanted = {"privacy_loss", "utility_loss", "emd", "gradient_penalty", "stationarity", "solver_residual"}
    assert all(wanted <= row.keys() for row in metrics)
    assert {"implicit_cosine", "implicit_error", "inner_gap", "largest_eigenvalue"} <= metrics[0].keys()
    assert metrics[0]["utility_loss"] == 0, "F starts at Enc(x)"


def test_warm_started_response_stays_nearly_stationary(model: AttackerModel) -> None:
    """It must not fall behind F: the last iterations are about as stationary as the first inversion."""
    _, metrics = craft(model, torch.rand(4, 3, 32, 32, generator=seeded()), 30, beta=0.5)
    assert metrics[-1]["stationarity"] < 3 * metrics[0]["stationarity"] + 1


def test_the_papers_series_is_accepted_as_solver(model: AttackerModel) -> None:
    """Many terms of the series and many steps of conjugate gradients without damping agree on the feature."""
    images = torch.rand(2, 3, 32, 32, generator=seeded())
    scale = 1e-3
    series = craft(model, images, 1, solver=NeumannSeries(scale, terms=300))[0]
    ridge = craft(model, images, 1, solver=ConjugateGradient(1 / (scale * 300), steps=30))[0]
    moved, expected = series.features - series.raw, ridge.features - ridge.raw
    cosine = nn.functional.cosine_similarity(moved.flatten(1), expected.flatten(1))
    assert (cosine > 0.9).all()


def test_a_feature_that_is_not_finite_is_refused_at_the_start(model: AttackerModel) -> None:
    crafting = FeatureCrafting(model, 1.0, inner=INNER, critic=CRITIC)
    images = torch.rand(2, 3, 32, 32)
    images[1, 0, 3, 3] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        crafting.start(images, seeded())


def test_negative_beta_is_refused(model: AttackerModel) -> None:
    with pytest.raises(ValueError, match="beta"):
        FeatureCrafting(model, -1.0)
