"""Release on the manifold: nothing that the prior cannot express, and the rest as it was."""

from __future__ import annotations

import pytest
import torch

from facecrafter.crafter.crafting import FeatureCrafting
from facecrafter.crafter.critic import CriticTraining
from facecrafter.crafter.erasure import Eraser
from facecrafter.crafter.inversion import AttackerModel, InnerProblem
from facecrafter.crafter.release import (
    Crafted,
    DownToCrafted,
    DownToFloor,
    OnManifold,
    Stranger,
    WithoutIdentity,
)
from facecrafter.nets.generator import Generator1
from facecrafter.nets.target import resnet18


@pytest.fixture(scope="module")
def model() -> AttackerModel:
    torch.manual_seed(0)
    return AttackerModel(resnet18(3).encoder.eval().double(), Generator1(8, 32, width=4).eval().double())


def latents(seed: int) -> torch.Tensor:
    return torch.randn(3, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def put(release: OnManifold, features: torch.Tensor, z: torch.Tensor, model: AttackerModel) -> torch.Tensor:
    return release(Crafted(features, features, z, model))


def test_a_feature_that_the_prior_can_express_is_released_as_it_is(model: AttackerModel) -> None:
    z, near = latents(1), latents(1) + 1e-2 * latents(2)
    features = model(z).features
    released = put(OnManifold(iterations=30), features, near, model)
    assert (released - features).norm() < 0.01 * (model(near).features - features).norm()


def test_what_the_prior_cannot_express_stays_on_the_device(model: AttackerModel) -> None:
    """The released feature is the prior's own, and no small change of z brings it nearer to F."""
    z = latents(1)
    noise = torch.randn(model(z).features.shape, generator=torch.Generator().manual_seed(3)).double()
    features = model(z).features + 0.05 * noise
    released = put(OnManifold(iterations=60), features, z, model)
    best = put(OnManifold(iterations=60), released, z, model)  # on the manifold: its own release
    assert (best - released).norm() < 1e-3 * (features - released).norm()
    nearer = [put(OnManifold(iterations=60), features, z + 1e-3 * latents(seed), model) for seed in (4, 5)]
    distance = (features - released).square().sum()
    for other in nearer:
        assert (features - other).square().sum() >= distance * (1 - 1e-4)


@pytest.mark.parametrize("alpha", [0.25, 1.0])
def test_alpha_is_the_share_of_the_residual(model: AttackerModel, alpha: float) -> None:
    z, features = latents(1), model(latents(2)).features
    on = put(OnManifold(0.0), features, z, model)
    torch.testing.assert_close(put(OnManifold(alpha), features, z, model), on + alpha * (features - on))


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
            inner=InnerProblem(first=6, starts=1, refresh=0),
            critic=CriticTraining(steps=1, batch=2, width=4),
            release=release,
        )
        state = crafting.start(images, torch.Generator().manual_seed(1))
        for _ in range(2):
            crafting.step(state)
        released[release is not None] = crafting.released(state)
    assert torch.equal(released[False], state.features)
    torch.testing.assert_close(released[True], put(OnManifold(iterations=8), state.features, state.z, model))
    assert not torch.allclose(released[True], released[False])


@pytest.fixture(scope="module")
def head() -> torch.nn.Module:
    torch.manual_seed(2)
    return torch.nn.Sequential(torch.nn.AvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(256, 5)).double()


@pytest.mark.parametrize("layer", ["0", "logits"])
def test_down_to_the_floor_the_cloud_reads_what_it_read(
    model: AttackerModel, head: torch.nn.Module, layer: str
) -> None:
    raw, z = model(latents(1)).features, latents(2)
    released = DownToFloor(layer)(Crafted(raw, raw, z, model, head))
    decoy = model.encoder(model.generator(z))
    assert (head(released) - head(raw)).norm() < 1e-2 * (head(decoy) - head(raw)).norm()


def test_down_to_the_floor_nothing_else_of_the_face_is_left(
    model: AttackerModel, head: torch.nn.Module
) -> None:
    """Two faces of which the layer reads the same have the same release, whatever else they differ in."""
    raw = model(latents(1)).features
    unread = torch.randn(raw.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    unread = unread - torch.nn.functional.interpolate(head[0](unread), scale_factor=4)
    one, other = (
        DownToFloor("logits")(Crafted(face, face, latents(2), model, head)) for face in (raw, raw + unread)
    )
    torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)


def test_down_to_the_floor_needs_the_head(model: AttackerModel) -> None:
    raw = model(latents(1)).features
    with pytest.raises(ValueError, match="public head"):
        DownToFloor()(Crafted(raw, raw, latents(2), model))


@pytest.fixture(scope="module")
def eraser(model: AttackerModel) -> Eraser:
    """Knows four directions of the prior's own features."""
    rng = torch.Generator().manual_seed(5)
    people = torch.arange(20).repeat_interleave(6)
    z = torch.randn(20, 8, generator=rng).double()[people] + 0.3 * torch.randn(120, 8, generator=rng).double()
    features = model.encoder(model.generator(z)).flatten(1)
    eraser = Eraser(features.shape[1], 4).double().requires_grad_(False)
    eraser.learn(features, people, 0.1)
    return eraser


@pytest.mark.parametrize("weight", [0.5, 4.0])
def test_without_identity_is_what_a_plain_search_finds(
    model: AttackerModel, eraser: Eraser, weight: float
) -> None:
    """The same minimum by gradient descent through autograd: the objective is that of the docstring."""
    features = model(latents(1)).features
    z = latents(1).requires_grad_()
    optimizer = torch.optim.LBFGS([z], max_iter=300, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        face = model.encoder(model.generator(z))
        taken = (face - eraser(face)).square().sum()
        return (eraser(features) - eraser(face)).square().sum() + weight * taken

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        (found := loss()).backward()
        return found

    before = loss().item()
    optimizer.step(closure)
    released = WithoutIdentity(weight, 60)(Crafted(features, features, latents(1), model, eraser=eraser))
    taken = (released - eraser(released)).square().sum()
    reached = ((eraser(features) - eraser(released)).square().sum() + weight * taken).item()
    assert reached - loss().item() < 0.02 * (before - loss().item())
    assert taken < (features - eraser(features)).square().sum()


def test_a_heavier_weight_leaves_less_of_who_it_is(model: AttackerModel, eraser: Eraser) -> None:
    features = model(latents(1)).features
    crafted = Crafted(features, features, latents(1), model, eraser=eraser)
    left = []
    for weight in (0.1, 1.0, 10.0):
        released = WithoutIdentity(weight)(crafted)
        left.append((released - eraser(released)).square().sum().item())
    assert left == sorted(left, reverse=True)


def test_without_identity_needs_an_eraser(model: AttackerModel) -> None:
    features = model(latents(1)).features
    with pytest.raises(ValueError, match="eraser"):
        WithoutIdentity()(Crafted(features, features, latents(1), model))


@pytest.mark.parametrize("wrong", [{"weight": 0.0}, {"iterations": 0}])
def test_a_release_without_identity_refuses(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        WithoutIdentity(**wrong)


def test_down_to_the_floor_may_be_of_another_release(model: AttackerModel, head: torch.nn.Module) -> None:
    """The cloud reads what it read; what the head does not look at is the other release's."""
    raw, z = model(latents(1)).features, latents(2)
    crafted = Crafted(raw, raw + 0.1, z, model, head)
    start, released = OnManifold()(crafted), DownToFloor("0", of=OnManifold())(crafted)
    assert (head[0](released) - head[0](raw)).norm() < 1e-2 * (head[0](start) - head[0](raw)).norm()
    unread = [x - torch.nn.functional.interpolate(head[0](x), scale_factor=4) for x in (released, start)]
    torch.testing.assert_close(*unread, atol=1e-6, rtol=1e-6)


def test_what_crafting_took_out_of_the_answers_is_not_given_back(
    model: AttackerModel, head: torch.nn.Module
) -> None:
    raw, crafted = model(latents(1)).features, model(latents(2)).features
    strangers = latents(3)
    given = Crafted(raw, crafted, latents(2), model, head, strangers=strangers)
    start, released = Stranger()(given), DownToCrafted(of=Stranger())(given)
    assert (head(released) - head(crafted)).norm() < 1e-2 * (head(start) - head(crafted)).norm()
    assert (head(released) - head(raw)).norm() > 0.5 * (head(crafted) - head(raw)).norm()


def test_a_stranger_with_the_crafted_answers_tells_nothing_else_of_the_face(
    model: AttackerModel, head: torch.nn.Module
) -> None:
    """Faces of whose crafted features the cloud reads the same have the same release, whatever else they
    differ in: the raw feature, the best response, and what of F the cloud does not read."""
    features = model(latents(1)).features
    unread = torch.randn(features.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    unread = unread - torch.nn.functional.interpolate(head[0](unread), scale_factor=4)
    release = DownToCrafted(of=Stranger())
    one = release(Crafted(features, features, latents(1), model, head, strangers=latents(3)))
    raw = model(latents(5)).features
    other = release(Crafted(raw, features + unread, latents(5), model, head, strangers=latents(3)))
    torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)


def test_a_stranger_has_to_be_drawn(model: AttackerModel) -> None:
    features = model(latents(1)).features
    with pytest.raises(ValueError, match="drawn"):
        Stranger()(Crafted(features, features, latents(1), model))


def test_crafting_draws_its_strangers_without_a_look_at_the_faces() -> None:
    """Other pictures under the same seed meet the same strangers, and the next query meets others."""
    torch.manual_seed(0)
    model = AttackerModel(resnet18(3).encoder.eval(), Generator1(8, 32, width=4).eval())
    crafting = FeatureCrafting(
        model,
        inner=InnerProblem(first=6, starts=1, refresh=0),
        critic=CriticTraining(steps=1, batch=2, width=4),
        release=Stranger(),
    )

    def released(seed: int, query: int, steps: int = 1) -> torch.Tensor:
        images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
        state = crafting.start(images, torch.Generator().manual_seed(query))
        for _ in range(steps):
            crafting.step(state)
        return crafting.released(state)

    assert torch.equal(released(0, 1), released(2, 1))
    assert torch.equal(released(0, 1), released(0, 1, steps=2)), "where faces end crafting early"
    assert not torch.allclose(released(0, 1), released(0, 2))
