"""Fawkes and LowKey: their budgets, the terms of their objectives, and that they do mislead."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity
from small_networks import seeded
from torch import Tensor, nn
from torch.nn import functional as F

from facecrafter.image_space import MODES, FeatureDistance, Mode, cloak, flat_features, perturb
from facecrafter.image_space.fawkes import BUDGET, Weights
from facecrafter.image_space.lowkey import START, STEP, gain

SHORT = Mode(threshold=0.012, steps=25, learning_rate=20.0, embeddings=2)


def faces(count: int = 3, side: int = 24) -> Tensor:
    """Smooth images that reach black and white."""
    coarse = torch.rand(count, 3, 4, 4, generator=seeded())
    return (1.4 * F.interpolate(coarse, (side, side), mode="bilinear") - 0.2).clamp(0, 1)


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Conv2d(3, 8, 5, stride=2), nn.Tanh(), nn.Conv2d(8, 8, 3), nn.Flatten())
    return layers.eval().requires_grad_(False)


ENSEMBLE = [network(1), network(2)]


def turned(images: Tensor, others: Tensor) -> Tensor:
    """How far the ensemble's unit embeddings are apart, (N,)."""
    return sum((F.normalize(net(images)) - F.normalize(net(others))).square().sum(1) for net in ENSEMBLE)


def dssim(image: Tensor, other: Tensor) -> float:
    """(1 − SSIM)/2 by scikit-image."""
    value = structural_similarity(
        image.permute(1, 2, 0).numpy(),
        other.permute(1, 2, 0).numpy(),
        channel_axis=2,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return (1 - value) / 2


def test_a_cloak_keeps_its_budget_and_misleads_the_ensemble() -> None:
    images = faces()
    cloaked = cloak(images, ENSEMBLE, SHORT, seeded())
    assert cloaked.min() >= 0
    assert cloaked.max() <= 1
    assert (cloaked.double() - images.double()).abs().max() <= BUDGET + 1e-7, "but for float32's rounding"
    assert all(dssim(*pair) <= 1.1 * SHORT.threshold + 1e-4 for pair in zip(cloaked, images, strict=True))
    noise = BUDGET * (2 * torch.rand(images.shape, generator=seeded(1)) - 1)
    assert (turned(cloaked, images) > 2 * turned((images + noise).clamp(0, 1), images)).all()


def test_more_budget_misleads_more() -> None:
    images = faces()
    low, high = (
        turned(cloak(images, ENSEMBLE, Mode(threshold, 25, 20.0, 2), seeded()), images)
        for threshold in (MODES["low"].threshold, MODES["high"].threshold)
    )
    assert (high > low).all()


def test_no_image_changes_what_happens_to_another() -> None:
    """Adadelta's step and the weights are each image's own (in float64: signs of rounding errors count)."""
    images, ensemble = faces().double(), [network(seed).double() for seed in (1, 2)]
    together = cloak(images, ensemble, SHORT, seeded())
    alone = cloak(images[:1], ensemble, SHORT, seeded())
    torch.testing.assert_close(alone, together[:1], atol=1e-8, rtol=0)


def test_the_weight_follows_the_published_rule() -> None:
    """Doubled below 0.9·th, halved above 1.1·th, one in between, after a change of sides and past 129."""
    start = Weights(torch.ones(5), torch.ones(5))
    first = start.after(torch.tensor([0.5, 1.5, 1.0, 0.5, 0.5]))
    assert first.weight.tolist() == [2.0, 1.0, 1.0, 2.0, 2.0]
    second = first.after(torch.tensor([0.9, 1.1, 1.2, 1.2, 1.0]))
    assert second.weight.tolist() == [4.0, 0.5, 0.5, 1.0, 1.0]
    many = [start]
    for _ in range(10):
        many.append(many[-1].after(torch.full((5,), 0.1)))
    assert [weights.weight[0].item() for weights in many] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 1, 2]


def test_the_modes_are_the_published_ones() -> None:
    numbers = {name: (m.threshold, m.steps, m.learning_rate, m.embeddings) for name, m in MODES.items()}
    assert numbers == {
        "low": (0.004, 40, 25, 1),
        "mid": (0.012, 75, 20, 2),
        "high": (0.017, 150, 15, 2),
    }


@pytest.mark.parametrize("iterations", [1, 12])
def test_lowkey_keeps_its_budget_and_misleads_the_ensemble(iterations: int) -> None:
    images = faces()
    perturbed = perturb(images, ENSEMBLE, None, iterations, seeded())
    assert perturbed.min() >= 0
    assert perturbed.max() <= 1
    assert (perturbed - images).abs().max() <= START + iterations * STEP + 1e-6
    start = perturb(images, ENSEMBLE, None, 0, seeded())
    assert (turned(perturbed, images) > turned(start, images)).all()


def test_lowkeys_gain_is_the_papers() -> None:
    """Against a loop over networks, views and images; smoothing by scipy, with the window it has."""
    images = faces(2).double()
    perturbed = (images + 0.05 * torch.randn(images.shape, generator=seeded(3), dtype=torch.float64)).clamp(
        0, 1
    )
    ensemble = [network(seed).double() for seed in (1, 2)]
    distance = FeatureDistance(network(4).double()[:1])
    radius_3 = partial(gaussian_filter, sigma=(0, 3.0, 3.0), truncate=1.0, mode="mirror")
    expected = []
    for x, y in zip(images, perturbed, strict=True):
        smooth = torch.from_numpy(np.asarray(radius_3(y.numpy())))
        terms = []
        for net in ensemble:
            clean = net(x[None])[0]
            for view in (y, smooth):
                terms.append((((net(view[None])[0] - clean) ** 2) / clean.norm()).mean())
        expected.append(torch.stack(terms).mean() - 0.05 * distance(y[None], x[None])[0])
    anchors = [net(images) for net in ensemble]
    torch.testing.assert_close(gain(perturbed, images, ensemble, anchors, distance), torch.stack(expected))


def test_lowkey_climbs_its_gain() -> None:
    """A wrong sign would lower it; without the perceptual term it climbs further in what it misleads."""
    images = faces()
    distance = FeatureDistance(network(4)[:1])
    anchors = [net(images) for net in ENSEMBLE]
    terms = (lambda a, b: 50 * distance(a, b), None)
    near, far = (perturb(images, ENSEMBLE, term, 12, seeded()) for term in terms)
    start = perturb(images, ENSEMBLE, distance, 0, seeded())
    climbed = perturb(images, ENSEMBLE, distance, 12, seeded())
    assert (
        gain(climbed, images, ENSEMBLE, anchors, distance) > gain(start, images, ENSEMBLE, anchors, distance)
    ).all()
    assert (distance(near, images) < distance(far, images)).all()


def test_the_encoder_itself_can_be_misled() -> None:
    """The variant of the comparison that attacks Enc: its features move far more than by noise."""
    images, encoder = faces(), network(1)[:2]
    raw = encoder(images)
    cloaked = cloak(images, [flat_features(encoder)], SHORT, seeded())
    noisy = images + (cloaked - images).abs() * torch.randn(images.shape, generator=seeded(5)).sign()
    moved, by_noise = ((encoder(x) - raw).square().flatten(1).sum(1) for x in (cloaked, noisy))
    assert (moved > by_noise).all()


def test_the_stand_in_for_lpips_is_a_distance_of_directions() -> None:
    """0 for equal images, blind to the strength of a feature, 4 where a feature is turned round."""
    double, opposite = torch.rand(2, 3, 4, 4, generator=seeded()), torch.rand(2, 3, 4, 4, generator=seeded(1))
    distance = FeatureDistance(nn.Identity())
    torch.testing.assert_close(distance(double, 2 * double), torch.zeros(2))
    torch.testing.assert_close(distance(opposite, -opposite), torch.full((2,), 4.0))
