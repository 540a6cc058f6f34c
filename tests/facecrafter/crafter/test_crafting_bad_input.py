"""What the engine does with what it was not made for: defined, and said with the offender's name."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from facecrafter.crafter.crafting import CraftingState, FeatureCrafting
from facecrafter.crafter.critic import CriticTraining
from facecrafter.crafter.health import HealthCheck
from facecrafter.crafter.implicit import Solution
from facecrafter.crafter.inversion import AttackerModel, InnerProblem, invert
from facecrafter.nets.generator import Generator1
from facecrafter.nets.target import resnet18

CRITIC = CriticTraining(steps=1, warmup=1, batch=4, width=4)
NOT_FINITE = [math.nan, math.inf, -math.inf]


class Hinge(nn.Module):
    """A ReLU that no rule knows."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=0)


def networks() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return resnet18(3).encoder.eval(), Generator1(8, 32, width=4).eval()


@pytest.fixture(scope="module")
def model() -> AttackerModel:
    return AttackerModel(*networks())


def some_images(number: int) -> Tensor:
    return torch.rand(number, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def crafting_with(model: AttackerModel, **options) -> FeatureCrafting:
    inner = InnerProblem(first=3, starts=1, refresh=0)
    return FeatureCrafting(
        model, 1.0, **{"inner": inner, "critic": CRITIC, "health": HealthCheck(every=0), **options}
    )


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        (InnerProblem, {"starts": 0}),
        (InnerProblem, {"damping": -1.0}),
        (CriticTraining, {"penalty_every": 0}),
        (CriticTraining, {"batch": 0}),
        (HealthCheck, {"images": 0}),
    ],
)
def test_settings_that_cannot_work_are_refused_where_they_are_made(settings, wrong) -> None:
    """Not hours later, by a division by zero."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        settings(**wrong)


def begin(crafting: FeatureCrafting, images: Tensor) -> CraftingState:
    return crafting.start(images, torch.Generator().manual_seed(0))


def test_a_layer_without_a_rule_is_named_and_crafts_the_same(model: AttackerModel) -> None:
    encoder, generator = networks()
    encoder[3] = Hinge()
    own = crafting_with(AttackerModel(encoder, generator))
    with pytest.warns(UserWarning, match="Hinge has no Jacobian rule"):
        state = begin(own, some_images(2))
    own.step(state)
    known = crafting_with(model)
    expected = begin(known, some_images(2))
    known.step(expected)
    assert (state.features.grad - expected.features.grad).norm() < 1e-3 * expected.features.grad.norm()


@pytest.mark.parametrize("number", [1, 3])
def test_fewer_images_than_the_critic_takes_are_crafted(model: AttackerModel, number: int) -> None:
    """A batch of one, and the last batch of a manifest."""
    crafting = crafting_with(model)
    state = begin(crafting, some_images(number))
    told = [crafting.step(state) for _ in range(2)]
    assert state.features.shape == state.raw.shape
    assert state.features.isfinite().all()
    assert all(math.isfinite(value) for metrics in told for value in metrics.values())
    assert (state.features != state.raw).flatten(1).any(dim=1).all(), "every image of the batch is protected"


def test_an_image_alone_has_the_gradient_that_it_has_in_a_full_batch(model: AttackerModel) -> None:
    """But for the critic: otherwise the last, partial batch would be protected differently."""
    crafting = crafting_with(model, critic=CriticTraining(steps=0, warmup=1, batch=4, width=4))
    together = begin(crafting, some_images(3))
    raw, z = together.raw[2:], together.z[2:]
    features = raw.clone()
    move, utility = crafting.update(features, 0.05), crafting.utility(raw, None)
    alone = CraftingState(raw, features, z, together.critic, move, utility, together.rng)
    crafting.step(together)
    crafting.step(alone)
    torch.testing.assert_close(alone.features.grad, together.features.grad[2:], rtol=1e-3, atol=1e-6)


def test_a_batch_without_images_is_refused(model: AttackerModel) -> None:
    with pytest.raises(ValueError, match="at least one image"):
        begin(crafting_with(model), some_images(0))


@pytest.mark.parametrize("value", NOT_FINITE)
def test_an_image_that_is_not_finite_is_named(model: AttackerModel, value: float) -> None:
    images = some_images(3)
    images[1, 0, 3, 3] = value
    with pytest.raises(ValueError, match=r"images \[1\] of the batch are not finite"):
        begin(crafting_with(model), images)


def test_a_feature_that_overflows_is_named() -> None:
    encoder, generator = networks()
    encoder[2].weight.data.fill_(1e38)
    with pytest.raises(ValueError, match=r"features of images \[0, 1\] .* not finite"):
        begin(crafting_with(AttackerModel(encoder, generator)), some_images(2))


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("network", ["encoder", "generator"])
def test_a_weight_that_is_not_finite_is_named_before_any_work(network: str, value: float) -> None:
    """A sigmoid or a ReLU may hide it, and the run would be of another network."""
    pair = dict(zip(("encoder", "generator"), networks(), strict=True))
    next(layer for layer in pair[network].modules() if hasattr(layer, "weight")).weight.data.view(-1)[7] = (
        value
    )
    with pytest.raises(ValueError, match=f"the {network} has a weight that is not finite"):
        AttackerModel(**pair)


def test_statistics_of_a_batch_norm_that_are_not_finite_are_refused() -> None:
    encoder, generator = networks()
    encoder[2].running_var[0] = math.nan
    with pytest.raises(ValueError, match="the encoder has a weight that is not finite"):
        AttackerModel(encoder, generator)


def test_a_response_that_is_not_finite_ends_the_run_and_is_named(model: AttackerModel) -> None:
    crafting = crafting_with(model)
    state = begin(crafting, some_images(3))
    state.z[1, 0] = math.nan
    with pytest.raises(ArithmeticError, match=r"iteration 0: z\* of images \[1\]"):
        crafting.step(state)
    assert torch.equal(state.features, state.raw), "no feature may have moved by a wrong gradient"


def test_a_critic_that_is_not_finite_ends_the_run_and_is_named(model: AttackerModel) -> None:
    crafting = crafting_with(model)
    state = begin(crafting, some_images(2))
    crafting.step(state)
    state.critic.network[0].weight.data.fill_(math.nan)
    with pytest.raises(ArithmeticError, match=r"iteration 1: the critic.*critic\.learning_rate"):
        crafting.step(state)


class Diverging:
    """A solver of the implicit gradient that does not converge."""

    ridge = 1.0

    def __call__(self, matrix, b: Tensor) -> Solution:
        return Solution(torch.full_like(b, math.inf), torch.ones(len(b)))


def test_a_gradient_that_is_not_finite_ends_the_run_and_the_solver_is_named(model: AttackerModel) -> None:
    crafting = crafting_with(model, solver=Diverging())
    state = begin(crafting, some_images(2))
    with pytest.raises(ArithmeticError, match="the implicit gradient is not; raise the solver's damping"):
        crafting.step(state)


@pytest.mark.parametrize("value", NOT_FINITE)
def test_a_feature_that_is_not_finite_leaves_the_others_inversions_alone(
    model: AttackerModel, value: float
) -> None:
    """An attacker's store may hold one bad feature: its own loss says so, and no other's changes by a bit."""
    features, start = model(torch.randn(3, 8)).features, torch.randn(3, 8)
    clean = invert(model, features, start, iterations=4)
    features[1, 0, 0, 0] = value
    found = invert(model, features, start, iterations=4)
    assert torch.equal(found.z[[0, 2]], clean.z[[0, 2]])
    assert torch.equal(found.loss[[0, 2]], clean.loss[[0, 2]])
    assert torch.equal(found.z[1], start[1])
    assert found.loss[1] == math.inf


def test_both_networks_go_where_they_are_sent() -> None:
    """A batch on a GPU would otherwise meet weights that stayed behind."""
    model = AttackerModel(*networks()).to(torch.device("meta"))
    found = model(torch.randn(2, 8, device="meta"))
    assert found.features.device.type == "meta"
    assert found.d_phi.jvp(torch.randn(2, 8, device="meta")).shape == found.features.shape
