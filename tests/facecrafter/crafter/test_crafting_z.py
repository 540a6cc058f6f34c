"""Algorithm 3 on small networks: the gradient, its two ends, and what must stay as it is."""

from __future__ import annotations

import pytest
import torch
from small_networks import seeded, small_model
from torch import Tensor, nn

from facecrafter.crafter.crafting_z import LatentCrafting, LatentState
from facecrafter.crafter.critic import CriticTraining
from facecrafter.crafter.inversion import AttackerModel, InnerProblem, squared_distance
from facecrafter.nets.generator import Generator1
from facecrafter.store import encoder_hash

INNER = InnerProblem(first=6, starts=2)
CRITIC = CriticTraining(steps=1, batch=4, width=4)


@pytest.fixture(scope="module")
def model() -> AttackerModel:
    return small_model()


def faces(count: int = 4) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=seeded())


def craft(
    model: AttackerModel, iterations: int, beta: float = 1.0, seed: int = 0, **options
) -> tuple[LatentCrafting, LatentState, list[dict[str, float]]]:
    crafting = LatentCrafting(model, beta, **{"inner": INNER, "critic": CRITIC, **options})
    state = crafting.start(faces(), seeded(seed))
    return crafting, state, [crafting.step(state) for _ in range(iterations)]


def test_the_gradient_is_that_of_equation_11() -> None:
    """L_p + β·L_u by central differences, with a critic that scores the mean of the green pixels."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.Sigmoid()).double()
    model = AttackerModel(encoder, Generator1(5, 16, width=2).double().eval())
    random = seeded(1)
    raw = torch.randn(2, 4, 4, 4, generator=random, dtype=torch.float64)
    z, v = torch.randn(2, 2, 5, generator=random, dtype=torch.float64)

    def objective(z: Tensor) -> Tensor:
        """Of each image."""
        privacy = -model(z).images[:, 1].mean(dim=(1, 2))
        pairs = zip(model(z).features, raw, strict=True)
        utility = torch.stack([(a - b).square().sum() / (4 * 4 * 4) for a, b in pairs])
        return privacy + 3.0 * utility

    at = model(z)
    grad_images = torch.zeros_like(at.images)
    grad_images[:, 1] = -1 / (16 * 16)
    gradient = LatentCrafting(model, beta=3.0).gradient(at, raw, grad_images)
    slope = (objective(z + 1e-6 * v) - objective(z - 1e-6 * v)) / 2e-6
    torch.testing.assert_close((gradient * v).sum(dim=1), slope, rtol=1e-5, atol=0)


def test_z_starts_at_the_best_response_and_the_published_feature_is_phi_of_z(model: AttackerModel) -> None:
    crafting, state, _ = craft(model, 0)
    assert torch.equal(crafting.released(state), model.encoder(model.generator(state.z)))
    random = torch.randn(64, 4, 8, generator=seeded(2))
    found = squared_distance(crafting.released(state), state.raw)
    for z in random:
        assert (found < squared_distance(model(z).features, state.raw)).all()


def test_a_huge_beta_holds_the_feature_and_none_lets_it_go(model: AttackerModel) -> None:
    """On images of the prior itself, whose features the first inversion meets."""
    images = model.generator(torch.randn(4, 8, generator=seeded(3)))

    def utility_loss(beta: float) -> float:
        crafting = LatentCrafting(model, beta, 0.05, InnerProblem(first=20, starts=2), CRITIC)
        state = crafting.start(images, seeded())
        return [crafting.step(state)["utility_loss"] for _ in range(15)][-1]

    assert utility_loss(1e6) < 0.5 * utility_loss(0.0)


def test_privacy_moves_the_images_towards_what_the_critic_takes_for_the_prior(model: AttackerModel) -> None:
    """With a wrong sign the scores would fall."""
    crafting = LatentCrafting(model, 0.0, 1e-2, INNER, CriticTraining(steps=0, warmup=5, batch=4, width=4))
    state = crafting.start(faces(), seeded())
    scores = [-crafting.step(state)["privacy_loss"] for _ in range(15)]
    assert scores[-1] > scores[0]


def test_a_critic_that_sees_no_difference_leaves_utility_alone(model: AttackerModel) -> None:
    """Without a privacy gradient the run is that of L_u alone, bit for bit."""
    crafting = LatentCrafting(model, 2.0, 1e-2, INNER, CriticTraining(steps=0, width=4))
    state = crafting.start(faces(), seeded())
    for weight in state.critic.network.parameters():
        weight.data.zero_()
    z = state.z.clone()
    optimizer = torch.optim.Adam([z], 1e-2, fused=True)
    for _ in range(3):
        at = model(z)
        z.grad = 2.0 * at.d_phi.vjp(2 * (at.features - state.raw) / at.features[0].numel())
        optimizer.step()
        crafting.step(state)
    assert torch.equal(state.z, z)


def test_the_networks_stay_as_they_are(model: AttackerModel) -> None:
    before = encoder_hash(model.encoder), encoder_hash(model.generator)
    craft(model, 3)
    assert (encoder_hash(model.encoder), encoder_hash(model.generator)) == before


def test_same_seed_same_bits_other_seed_other_bits(model: AttackerModel) -> None:
    first, again, other = (craft(model, 2, seed=seed)[1].z for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_broken_feature_or_a_negative_beta_is_refused(model: AttackerModel) -> None:
    with pytest.raises(ValueError, match="beta"):
        LatentCrafting(model, -1.0)
    images = faces()
    images[0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        LatentCrafting(model, 1.0, inner=INNER, critic=CRITIC).start(images, seeded())
