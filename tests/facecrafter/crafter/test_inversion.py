"""The best response must be one: stationary, no worse than its start, and each sample's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from facecrafter.crafter.inversion import AttackerModel, invert, squared_distance
from facecrafter.nets.generator import Generator1
from facecrafter.nets.target import resnet18


@pytest.fixture(scope="module")
def model() -> AttackerModel:
    torch.manual_seed(0)
    return AttackerModel(resnet18(3).encoder.double().eval(), Generator1(8, 32, width=4).double().eval())


def test_the_latent_behind_a_feature_is_found(model: AttackerModel) -> None:
    torch.manual_seed(1)
    truth = torch.randn(3, 8, dtype=torch.float64)
    features = model(truth).features
    found = invert(model, features, truth + 0.3 * torch.randn_like(truth), iterations=40, steps=8)
    assert (found.loss < 1e-6 * features.square().flatten(1).sum(dim=1)).all()
    torch.testing.assert_close(found.z, truth, atol=1e-2, rtol=0)


def test_the_response_is_stationary_also_where_no_image_has_the_feature(model: AttackerModel) -> None:
    """The implicit function theorem holds only where ∂L_inv/∂z = 0."""
    torch.manual_seed(2)
    features = model.encoder(torch.rand(2, 3, 32, 32, dtype=torch.float64))
    start = torch.randn(2, 8, dtype=torch.float64)
    found = invert(model, features, start, iterations=60, steps=8)
    at, begin = model(found.z), model(start)
    slope = at.d_phi.vjp(features - at.features).norm(dim=1)
    assert (slope < 0.02 * begin.d_phi.vjp(features - begin.features).norm(dim=1)).all()


def test_the_loss_is_that_of_z_and_never_above_the_start(model: AttackerModel) -> None:
    torch.manual_seed(3)
    features = 5 * torch.randn(4, 64, 8, 8, dtype=torch.float64)
    start = torch.randn(4, 8, dtype=torch.float64)
    found = invert(model, features, start, iterations=6)
    torch.testing.assert_close(found.loss, squared_distance(features, model(found.z).features))
    assert (found.loss <= squared_distance(features, model(start).features)).all()


def test_one_sample_gives_what_it_gives_in_a_batch(model: AttackerModel) -> None:
    torch.manual_seed(4)
    features = model.encoder(torch.rand(3, 3, 32, 32, dtype=torch.float64))
    start = torch.randn(3, 8, dtype=torch.float64)
    together = invert(model, features, start, iterations=5)
    alone = invert(model, features[1:2], start[1:2], iterations=5)
    torch.testing.assert_close(alone.z, together.z[1:2], atol=1e-8, rtol=0)


def test_progress_is_told(model: AttackerModel) -> None:
    seen: list[tuple[int, int]] = []
    start = torch.randn(1, 8, dtype=torch.float64)
    invert(model, model(start).features, start, 3, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_networks_stay_as_they_were() -> None:
    encoder, generator = resnet18(3).encoder, Generator1(8, 32, width=4)
    AttackerModel(encoder, generator)
    assert encoder.training
    assert all(weight.requires_grad for weight in generator.parameters())


def test_a_generator_without_a_latent_is_refused() -> None:
    with pytest.raises(ValueError, match="Sigmoid has no linear layer"):
        AttackerModel(resnet18(3).encoder, nn.Sigmoid())
