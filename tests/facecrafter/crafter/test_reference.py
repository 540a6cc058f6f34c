"""The reference must be the published algorithm: every speedup and every comparison rests on it."""

from __future__ import annotations

import pytest
import torch
from small_networks import seeded
from torch import Tensor, nn

from facecrafter.crafter.crafting import FeatureCrafting
from facecrafter.crafter.critic import CriticTraining
from facecrafter.crafter.implicit import NeumannSeries, implicit_gradient
from facecrafter.crafter.inversion import AttackerModel, InnerProblem, squared_distance
from facecrafter.crafter.reference import (
    PUBLISHED_CRITIC,
    SQUARED,
    UNSQUARED,
    InnerPoint,
    PublishedCrafting,
    Reading,
    RestartedInversion,
)
from facecrafter.nets.generator import Generator1
from facecrafter.nets.target import resnet18

CRITIC = CriticTraining(steps=1, batch=4, width=4)
INNER = RestartedInversion(steps=3)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def small(**options) -> PublishedCrafting:
    """On a ResNet18 encoder and a G1 of four channels, for images 32 x 32."""
    torch.manual_seed(0)
    encoder, generator = resnet18(3).encoder.eval(), Generator1(8, 32, width=4).eval()
    defaults = {"inner": INNER, "products": 3, "critic": CRITIC, "beta": 1.0}
    return PublishedCrafting(encoder, generator, 8, **{**defaults, **options})


def faces(count: int) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=seeded())


def generator(*last: nn.Module) -> nn.Module:
    """Latents (N, 5) -> (N, 3, 2, 2) in float64, through a ReLU."""
    layers = [nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 12), nn.Unflatten(1, (3, 2, 2)), *last]
    return nn.Sequential(*layers).double()


def point(crafting: PublishedCrafting, count: int = 3) -> tuple[InnerPoint, Tensor, Tensor]:
    """∂L_inv/∂z at random features and latents, those latents, and a random ∂L_p/∂z."""
    z, grad_z = torch.randn(2, count, 5, dtype=torch.float64)
    features = crafting.phi(torch.randn_like(z)) + torch.rand(4, 1, 1, dtype=torch.float64)
    return crafting.inner_point(features, z), z, grad_z


def jacobian(crafting: PublishedCrafting, z: Tensor) -> Tensor:
    """∂φ/∂z (n, d) at one latent (d,), by another route than the reference's."""
    return torch.func.jacrev(lambda z: crafting.phi(z[None]).flatten())(z)


def truncated(hessian: Tensor, alpha: float, products: int) -> Tensor:
    """α Σ_{j=0..products} (I − αH)ʲ."""
    eye = torch.eye(len(hessian), dtype=hessian.dtype)
    return alpha * sum(torch.linalg.matrix_power(eye - alpha * hessian, j) for j in range(products + 1))


def linear(reading: Reading) -> PublishedCrafting:
    generator = nn.Sequential(nn.Linear(5, 12), nn.Unflatten(1, (3, 2, 2))).double()
    return PublishedCrafting(nn.Conv2d(3, 4, 1).double(), generator, 5, 1.0, reading=reading, products=7)


def test_implicit_gradient_of_a_linear_phi_is_the_truncated_series_squared() -> None:
    crafting = linear(Reading(power=2, alpha=0.05))
    at, z, grad_z = point(crafting)
    found = -at.mixed(crafting.inverse_hessian_product(at, grad_z).x)
    j = jacobian(crafting, z[0])
    expected = grad_z @ truncated(j.T @ j, 0.05, 7) @ j.T
    torch.testing.assert_close(found.flatten(1), expected)


def test_implicit_gradient_of_a_linear_phi_is_the_truncated_series_unsquared() -> None:
    """H = JᵀJ/ρ − JᵀrrᵀJ/ρ³ and −∂²L_inv/∂z∂F = Jᵀ(I − rrᵀ/ρ²)/ρ with r = F − φ(z), ρ = ‖r‖."""
    crafting = linear(Reading(power=1, alpha=0.05))
    at, z, grad_z = point(crafting)
    found = -at.mixed(crafting.inverse_hessian_product(at, grad_z).x)
    j = jacobian(crafting, z[0])
    for i in range(len(z)):
        r = (at.features[i] - crafting.phi(z[i : i + 1])[0]).flatten().detach()
        tangent = (torch.eye(len(r), dtype=r.dtype) - torch.outer(r, r) / (r @ r)) / r.norm()
        expected = tangent @ j @ truncated(j.T @ tangent @ j, 0.05, 7) @ grad_z[i]
        torch.testing.assert_close(found[i].flatten(), expected)


@pytest.mark.parametrize("reading", [SQUARED, UNSQUARED], ids=["squared", "unsquared"])
def test_hessian_products_are_finite_differences_of_the_slope(reading: Reading) -> None:
    crafting = PublishedCrafting(
        nn.Conv2d(3, 4, 1).double(), generator(nn.Sigmoid()), 5, 1.0, reading=reading
    )
    at, z, v = point(crafting)
    step = 1e-5
    above, below = (crafting.inner_point(at.features.detach(), z + s * v).slope for s in (step, -step))
    torch.testing.assert_close(at.hessian(v), (above - below) / (2 * step), rtol=1e-7, atol=1e-8)


def test_hessian_is_jtj_and_the_sigmoids_curvature() -> None:
    """The Hessian of ‖F − φ‖² is 2JᵀJ − 2 Σ r_k ∇²φ_k; half of it is that of the squared reading."""
    crafting = PublishedCrafting(nn.Conv2d(3, 4, 1).double(), generator(nn.Sigmoid()), 5, 1.0)
    at, z, v = point(crafting)
    for i in range(len(z)):
        residual = (at.features[i] - crafting.phi(z[i : i + 1])[0]).flatten().detach()
        curvature = torch.func.hessian(lambda z, r=residual: r @ crafting.phi(z[None]).flatten())(z[i])
        j = jacobian(crafting, z[i])
        torch.testing.assert_close(at.hessian(v)[i], (j.T @ j - curvature) @ v[i])


def implicit_gradients(*last: nn.Module) -> tuple[Tensor, Tensor]:
    """∂L_p/∂F (8, n) of reference and engine by the same series; αμ_max = 0.015 as on a trained network."""
    encoder, g = nn.Conv2d(3, 4, 1).double(), generator(*last)
    crafting = PublishedCrafting(encoder, g, 5, 1.0)
    z, other, grad_z = torch.randn(3, 8, 5, dtype=torch.float64)
    largest = max(torch.linalg.matrix_norm(jacobian(crafting, one), 2) ** 2 for one in z)
    alpha = 0.015 / largest.item()
    crafting.reading = Reading(power=2, alpha=alpha)
    at = crafting.inner_point(crafting.phi(z + other).detach(), z)
    found = -at.mixed(crafting.inverse_hessian_product(at, grad_z).x)
    engine = implicit_gradient(AttackerModel(encoder, g)(z).d_phi, grad_z, NeumannSeries(alpha, terms=151))
    return found.flatten(1), engine.gradient.flatten(1)


def test_the_engines_series_is_the_references_where_phi_has_no_curvature() -> None:
    found, engine = implicit_gradients()
    torch.testing.assert_close(found, engine)


def test_the_engine_leaves_out_no_more_than_the_sigmoids_curvature() -> None:
    """Here 1 to 3% of JᵀJ, as on trained networks: gradients differ by up to 2%, the cosine is 0.9999."""
    found, engine = implicit_gradients(nn.Sigmoid())
    difference = (found - engine).norm(dim=1) / engine.norm(dim=1)
    assert 1e-3 < difference.max() < 0.03
    assert (nn.functional.cosine_similarity(found, engine) > 0.999).all()


def test_the_published_numbers_are_the_defaults() -> None:
    crafting = PublishedCrafting(nn.Identity(), nn.Identity(), 5, 1.0)
    assert (crafting.inner.steps, crafting.products, crafting.learning_rate) == (80, 150, 0.01)
    assert crafting.inner.weight**2 * 128 == pytest.approx(100**2)
    assert crafting.reading.alpha == NeumannSeries().scale
    assert crafting.products + 1 == NeumannSeries().terms
    assert (PUBLISHED_CRITIC.steps, PUBLISHED_CRITIC.batch, PUBLISHED_CRITIC.penalty) == (10, 32, 20)
    assert PUBLISHED_CRITIC.penalty_every == 1


def test_the_published_step_is_a_thousandth_of_its_codes_hessian() -> None:
    """c = 2·2000/(128·n): the code's 2,000 times the squared norm over the batch, over its elements."""
    assert pytest.approx(1e-3 * 4000 / (128 * 64 * 16 * 16), rel=1e-3) == SQUARED.alpha


def test_momentum_steps_are_those_of_the_whole_batch_of_128() -> None:
    """The published descent of 100·‖F − φ(z)‖ over 128 images, equally far off, moves each image as here."""
    crafting = linear(SQUARED)
    z, features = torch.randn(1, 5, dtype=torch.float64), torch.randn(1, 4, 2, 2, dtype=torch.float64)
    batch = z.repeat(128, 1).requires_grad_()
    descent = torch.optim.SGD([batch], lr=5e-3, momentum=0.9)
    for _ in range(80):
        descent.zero_grad()
        (100 * (features - crafting.phi(batch)).norm()).backward()
        descent.step()
    torch.testing.assert_close(crafting.invert(features, z), batch[:1].detach())


def test_the_inner_loss_falls_in_both_halves_of_the_descent() -> None:
    crafting, z = small(), torch.randn(2, 8)
    features = crafting.phi(torch.randn(2, 8)).detach()
    losses = []
    for steps in (0, 40, 80):
        crafting.inner = RestartedInversion(steps)
        losses.append(squared_distance(features, crafting.phi(crafting.invert(features, z))))
    assert (losses[1] < 0.8 * losses[0]).all()
    assert (losses[2] < losses[1]).all()


@pytest.mark.parametrize("reading", [Reading(2, 1e-3), UNSQUARED], ids=["plain squared", "unsquared"])
def test_a_diverging_series_is_refused_with_the_step_it_could_take(reading: Reading) -> None:
    """150 terms of it are huge and point along the largest eigenvalue, whatever ∂L_p/∂z is."""
    generator = nn.Sequential(nn.Linear(5, 12), nn.Unflatten(1, (3, 2, 2))).double()
    generator[0].weight.data *= 100
    crafting = PublishedCrafting(nn.Identity(), generator, 5, 1.0, reading=reading)
    z = torch.randn(2, 5, dtype=torch.float64)
    at = crafting.inner_point(crafting.phi(z) + 0.1, z)
    hessian = torch.func.hessian(lambda z: loss(crafting, at.features[:1], z))(z[0])
    largest = torch.linalg.eigvalsh(hessian)[-1]
    assert reading.alpha * largest > 2
    with pytest.raises(ArithmeticError, match=f"below {2 / largest:.3g}"):
        crafting.inverse_hessian_product(at, torch.randn_like(z))


def loss(crafting: PublishedCrafting, feature: Tensor, z: Tensor) -> Tensor:
    square = (feature - crafting.phi(z[None])).square().sum()
    return square / 2 if crafting.reading.power == 2 else square.sqrt()


def test_negative_curvature_is_no_divergence() -> None:
    """Away from the solution the Hessian is indefinite: the published algorithm carries on."""
    crafting = PublishedCrafting(nn.Identity(), generator(nn.Sigmoid()), 5, 1.0, reading=Reading(2, 0.02))
    z = torch.randn(3, 5, dtype=torch.float64)
    at = crafting.inner_point(crafting.phi(z) + 30, z)
    solution = crafting.inverse_hessian_product(at, torch.randn_like(z))
    assert (solution.residual > 1).any()


def test_a_gradient_of_zero_stays_zero() -> None:
    """A critic that scores all images alike gives ∂L_p/∂z = 0."""
    at, _, grad_z = point(crafting := linear(Reading(2, 0.05)))
    solution = crafting.inverse_hessian_product(at, torch.zeros_like(grad_z))
    assert torch.equal(solution.x, torch.zeros_like(grad_z))
    assert torch.equal(solution.residual, torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize("reading", [SQUARED, UNSQUARED], ids=["squared", "unsquared"])
def test_an_image_has_the_same_gradient_in_any_company(reading: Reading) -> None:
    crafting = PublishedCrafting(
        nn.Conv2d(3, 4, 1).double(), generator(nn.Sigmoid()), 5, 1.0, reading=reading
    )
    at, z, grad_z = point(crafting)
    alone = crafting.inner_point(at.features[1:2].detach(), z[1:2])
    found = alone.mixed(crafting.inverse_hessian_product(alone, grad_z[1:2]).x)
    expected = at.mixed(crafting.inverse_hessian_product(at, grad_z).x)[1:2]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    features = torch.randn(3, 4, 2, 2, dtype=torch.float64)
    torch.testing.assert_close(
        crafting.invert(features[1:2], z[1:2]), crafting.invert(features, z)[1:2], rtol=1e-12, atol=0
    )


class Brightness(nn.Module):
    """A critic that scores the mean pixel."""

    def forward(self, images: Tensor) -> Tensor:
        return 100 * images.flatten(1).mean(dim=1)


def test_features_move_towards_images_that_the_critic_takes_for_the_prior() -> None:
    """With a wrong sign anywhere in lines 10 to 13 the inverted images would get darker."""
    crafting = small(
        beta=0.0,
        reading=Reading(2, 1e-2),
        learning_rate=0.1,
        inner=RestartedInversion(20, learning_rate=2.0),  # random networks are flat
        critic=CriticTraining(steps=0),
    )
    state = crafting.start(faces(2), seeded())
    state.critic.network = Brightness()
    scores = [-crafting.step(state)["privacy_loss"] for _ in range(5)]
    assert scores[-1] > scores[0] + 0.15


def test_a_huge_beta_pulls_back_to_the_raw_feature() -> None:
    crafting = small(beta=1e9)
    state = crafting.start(faces(2), seeded())
    state.features += 1
    crafting.step(state)
    torch.testing.assert_close(state.features - state.raw, torch.full_like(state.raw, 0.99))


def test_it_tells_what_the_engine_tells() -> None:
    """Their runs are compared by these numbers; the engine has more of its own health to report."""
    crafting = small()
    found = crafting.step(crafting.start(faces(2), seeded()))
    model = AttackerModel(crafting.encoder, crafting.generator)
    engine = FeatureCrafting(model, 1.0, inner=InnerProblem(1, 1, 0), critic=CRITIC)
    told = engine.step(engine.start(faces(2), seeded()))
    assert found.keys() <= told.keys()


@pytest.mark.parametrize("reading", [SQUARED, UNSQUARED], ids=["squared", "unsquared"])
def test_metrics_are_in_the_engines_units(reading: Reading) -> None:
    crafting = small(reading=reading)
    state = crafting.start(faces(3), seeded())
    state.features += 0.1
    raw, features = state.raw, state.features.clone()
    told = crafting.step(state)
    z = state.z.clone().requires_grad_()
    square = squared_distance(features, crafting.phi(z))
    (slope,) = torch.autograd.grad(square.sum(), z)
    assert told["inversion_loss"] == pytest.approx(square.mean().item(), rel=1e-5)
    assert told["stationarity"] == pytest.approx(slope.norm(dim=1).mean().item(), rel=1e-4)
    assert told["utility_loss"] == pytest.approx((features - raw).square().mean().item(), rel=1e-5)


def test_every_inversion_starts_from_the_amortizers_guess_of_the_feature_in_hand() -> None:
    amortizer = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 8))
    crafting = small(amortizer=amortizer, inner=RestartedInversion(steps=0))
    state = crafting.start(faces(2), seeded())
    for _ in range(2):
        expected = amortizer(state.features).detach()
        crafting.step(state)
        torch.testing.assert_close(state.z, expected)


def test_without_an_amortizer_every_inversion_starts_from_the_same_latents() -> None:
    crafting = small(inner=RestartedInversion(steps=0))
    state = crafting.start(faces(2), seeded())
    crafting.step(state)
    first = state.z
    crafting.step(state)
    assert torch.equal(state.z, first)
    assert not torch.equal(first[0], first[1])


def test_the_critic_takes_its_steps_in_every_iteration_and_in_full_precision() -> None:
    crafting = small(critic=CriticTraining(steps=2, batch=4, width=4))
    state = crafting.start(faces(2), seeded())
    for _ in range(2):
        crafting.step(state)
    assert (state.critic.steps, state.critic.dtype) == (4, None)


def test_same_seed_same_bits_other_seed_other_bits() -> None:
    def features(seed: int) -> Tensor:
        crafting = small()
        state = crafting.start(faces(3), seeded(seed))
        crafting.step(state)
        return state.features

    assert torch.equal(features(0), features(0))
    assert not torch.equal(features(0), features(1))


def test_the_callers_networks_and_random_state_are_left_alone() -> None:
    encoder, generator = resnet18(3).encoder.train(), Generator1(8, 32, width=4)
    before = [weight.clone() for weight in encoder.state_dict().values()]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    crafting = PublishedCrafting(encoder, generator, 8, 1.0, inner=INNER, products=1, critic=CRITIC)
    crafting.step(crafting.start(faces(2), seeded()))
    assert torch.equal(torch.rand(3), expected)
    assert encoder.training
    assert all(weight.requires_grad and weight.grad is None for weight in encoder.parameters())
    assert all(torch.equal(*pair) for pair in zip(encoder.state_dict().values(), before, strict=True))


def test_a_batch_of_one_is_crafted() -> None:
    crafting = small()
    state = crafting.start(faces(1), seeded())
    told = [crafting.step(state) for _ in range(2)]
    assert torch.isfinite(state.features).all()
    assert all(torch.isfinite(torch.tensor(list(row.values()))).all() for row in told)


def test_a_feature_that_is_not_finite_is_refused_at_the_start() -> None:
    images = faces(2)
    images[1, 0, 3, 3] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        small().start(images, seeded())


def test_a_latent_that_is_not_finite_is_refused() -> None:
    amortizer = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 8))
    amortizer[2].weight.data[0, 0] = torch.nan
    crafting = small(amortizer=amortizer)
    with pytest.raises(ArithmeticError, match="amortizer"):
        crafting.step(crafting.start(faces(2), seeded()))


def test_negative_beta_is_refused() -> None:
    with pytest.raises(ValueError, match="beta"):
        small(beta=-1.0)
