"""Release on the manifold: nothing that the prior cannot express, and the rest as it was."""

from __future__ import annotations

import pytest
import torch

from facecrafter.crafter.crafting import FeatureCrafting, InnerProblem
from facecrafter.crafter.critic import CriticTraining
from facecrafter.crafter.inversion import AttackerModel
from facecrafter.crafter.release import OnManifold
from facecrafter.nets.generator import Generator1
from facecrafter.nets.target import resnet18


@pytest.fixture(scope="module")
def model() -> AttackerModel:
    torch.manual_seed(0)
    return AttackerModel(resnet18(3).encoder.eval().double(), Generator1(8, 32, width=4).eval().double())


def latents(seed: int) -> torch.Tensor:
    return torch.randn(3, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_feature_that_the_prior_can_express_is_released_as_it_is(model: AttackerModel) -> None:
    z, near = latents(1), latents(1) + 1e-2 * latents(2)
    features = model(z).features
    released = OnManifold(iterations=30)(features, near, model)
    assert (released - features).norm() < 0.01 * (model(near).features - features).norm()


def test_what_the_prior_cannot_express_stays_on_the_device(model: AttackerModel) -> None:
    """The released feature is the prior's own, and no small change of z brings it nearer to F."""
    z = latents(1)
    noise = torch.randn(model(z).features.shape, generator=torch.Generator().manual_seed(3)).double()
    features = model(z).features + 0.05 * noise
    released = OnManifold(iterations=60)(features, z, model)
    best = OnManifold(iterations=60)(released, z, model)  # it lies on the manifold: it is its own release
    assert (best - released).norm() < 1e-3 * (features - released).norm()
    nearer = [OnManifold(iterations=60)(features, z + 1e-3 * latents(seed), model) for seed in (4, 5)]
    distance = (features - released).square().sum()
    for other in nearer:
        assert (features - other).square().sum() >= distance * (1 - 1e-4)


@pytest.mark.parametrize("alpha", [0.25, 1.0])
def test_alpha_is_the_share_of_the_residual(model: AttackerModel, alpha: float) -> None:
    z, features = latents(1), model(latents(2)).features
    on = OnManifold(0.0)(features, z, model)
    torch.testing.assert_close(OnManifold(alpha)(features, z, model), on + alpha * (features - on))


@pytest.mark.parametrize("wrong", [{"alpha": -0.1}, {"alpha": 1.1}, {"iterations": 0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        OnManifold(**wrong)


def test_crafting_may_end_on_the_manifold() -> None:
    """What leaves the device is then the prior's own feature of where crafting has brought the face."""
    torch.manual_seed(0)
    model = AttackerModel(resnet18(3).encoder.eval(), Generator1(8, 32, width=4).eval())
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    released = {}
    for release in (None, OnManifold(iterations=8)):
        crafting = FeatureCrafting(
            model,
            32,
            inner=InnerProblem(first=6, starts=1, refresh=0),
            critic=CriticTraining(steps=1, batch=2, width=4),
            release=release,
        )
        state = crafting.start(images, torch.Generator().manual_seed(1))
        for _ in range(2):
            crafting.step(state)
        released[release is not None] = crafting.released(state)
    assert torch.equal(released[False], state.features)
    torch.testing.assert_close(released[True], OnManifold(iterations=8)(state.features, state.z, model))
    assert not torch.allclose(released[True], released[False])
