"""The fresh critic of a batch: what it learns, what a lazy penalty and bfloat16 may change, what is fixed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from facecrafter.crafter.critic import CriticTraining, FreshCritic
from facecrafter.nets.critic import InstanceNorm2d


def faces(contrast: float, seed: int) -> Tensor:
    """Upright stripes of this contrast under noise: what an instance norm cannot take away."""
    stripes = 0.5 + contrast * torch.tensor([0.5, 0.5, -0.5, -0.5]).repeat(8)
    noise = torch.rand(12, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    return (stripes + 0.1 * noise).clamp(0, 1)


def fresh(seed: int = 0, dtype: torch.dtype | None = None, **options) -> FreshCritic:
    training = CriticTraining(**{"batch": 8, "width": 8, "learning_rate": 2e-3, **options})
    return FreshCritic(training, faces(0.8, 1), torch.Generator().manual_seed(seed), dtype)


@pytest.mark.parametrize("options", [{}, {"penalty_every": 4}, {"dtype": torch.bfloat16}])
def test_it_learns_to_prefer_average_faces(options: dict) -> None:
    """With the sign of the loss turned round, it would prefer the reconstructions."""
    critic = fresh(**options)
    critic.train(faces(0.1, 2), steps=40)
    scores, gradient = critic.privacy(faces(0.1, 2))
    assert critic.average_score() > scores.mean() + 0.2
    downhill = faces(0.1, 2) - 0.01 * gradient / gradient.abs().mean()
    assert critic.privacy(downhill)[0].mean() > scores.mean(), "the gradient is that of L_p = −D"


@pytest.mark.parametrize("options", [{}, {"penalty_every": 4}])
def test_the_penalty_keeps_its_slope_near_one(options: dict) -> None:
    critic = fresh(**options)
    critic.train(faces(0.1, 2), steps=120)
    between = (faces(0.1, 2) + critic.average_faces) / 2
    _, gradient = critic.privacy(between)
    slope = gradient.flatten(1).norm(dim=1)
    assert (slope - 1).abs().max() < 0.35


def test_a_lazy_penalty_is_taken_as_often_as_said(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    original = FreshCritic._weighted_penalty

    def counted(self: FreshCritic, real: Tensor, fake: Tensor) -> Tensor:
        penalty = original(self, real, fake)
        taken.append((self.steps, penalty.item() / (self.penalty * self.training.penalty)))
        return penalty

    monkeypatch.setattr(FreshCritic, "_weighted_penalty", counted)
    fresh(penalty_every=3).train(faces(0.1, 2), steps=7)
    assert [step for step, _ in taken] == [0, 3, 6]
    assert all(weight == pytest.approx(3) or weight == pytest.approx(6) for _, weight in taken)


def test_each_images_gradient_is_its_own() -> None:
    critic = fresh()
    images = faces(0.3, 3)
    _, together = critic.privacy(images)
    _, alone = critic.privacy(images[4:5])
    torch.testing.assert_close(together[4:5], alone, rtol=1e-4, atol=1e-6)


def test_a_seed_fixes_weights_and_mini_batches() -> None:
    results = []
    for seed in (0, 0, 1):
        critic = fresh(seed)
        critic.train(faces(0.1, 2), steps=3)
        results.append(critic.privacy(faces(0.1, 2))[0])
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_bfloat16_scores_are_those_of_float32_but_for_rounding() -> None:
    images = faces(0.3, 3)
    exact, fast = fresh().privacy(images), fresh(dtype=torch.bfloat16).privacy(images)
    assert (fast[0] - exact[0]).abs().max() < 0.04, "scores are about 1, and bfloat16 has 8 bits"
    cosine = nn.functional.cosine_similarity(fast[1].flatten(1), exact[1].flatten(1))
    assert (cosine > 0.95).all()


def test_the_norm_is_torchs() -> None:
    torch.manual_seed(4)
    norm = InstanceNorm2d(5, affine=True).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(3, 5, 6, 7, dtype=torch.float64)
    torch.testing.assert_close(norm(x), nn.InstanceNorm2d.forward(norm, x))
