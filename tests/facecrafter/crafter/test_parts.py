"""Crafter's exchangeable parts: what each moves F along, held against plain re-solved problems in float64."""

from __future__ import annotations

import hmac
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from facecrafter.crafter.attackers import InnerAttacker, OpenedLayers, OwnDecoder
from facecrafter.crafter.crafting import CraftingState, FeatureCrafting
from facecrafter.crafter.critic import CriticTraining
from facecrafter.crafter.health import HealthCheck
from facecrafter.crafter.implicit import ConjugateGradient
from facecrafter.crafter.inversion import AttackerModel, InnerProblem
from facecrafter.crafter.jacobian import Linearizer
from facecrafter.crafter.layers import public_layer
from facecrafter.crafter.towards import KeyedFaces, keyed_latents
from facecrafter.crafter.update import SpanSteps, Update
from facecrafter.crafter.utility import FeatureDistance, PublicLayers
from facecrafter.nets.through_head import ThroughHead

SIZE, LATENTS, LAMBDA, BETA, SIGMA, PULL = 32, 3, 0.4, 0.7, 0.5, 5.0
EXACT = ConjugateGradient(LAMBDA, steps=60)
LAYERS, OWN_FEATURE = {"hidden": 1.0, "1": 0.5}, 0.3


class Tiny:
    """Networks that can be solved to the end, and a critic that is smooth; φ may be piecewise linear."""

    def __init__(self, last: nn.Module) -> None:
        torch.manual_seed(3)
        self.generator = nn.Sequential(
            nn.Linear(LATENTS, 8),
            nn.Unflatten(1, (2, 2, 2)),
            nn.ReLU(),
            nn.ConvTranspose2d(2, 3, 16, stride=16),
            last,
        ).double()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 4, 8, stride=8), nn.ReLU(), nn.Conv2d(4, 4, 2, stride=2)
        ).double()
        self.head = nn.Sequential(nn.Conv2d(4, 5, 2), nn.Tanh(), nn.Flatten(), nn.Linear(5, 2)).double()
        self.decoder = nn.Sequential(nn.ConvTranspose2d(4, 3, 16, stride=16), nn.Sigmoid()).double()
        for network in (self.generator, self.encoder, self.head, self.decoder):
            network.requires_grad_(False)
        self.images = torch.rand(2, 3, SIZE, SIZE, dtype=torch.float64)
        self.z = torch.randn(2, LATENTS, dtype=torch.float64)


class SmoothCritic(nn.Module):
    """Scores an image by a curved function of its pixels."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(3 * SIZE * SIZE, generator=rng, dtype=torch.float64))

    def forward(self, images: Tensor) -> Tensor:
        return torch.sin(images.flatten(1)) @ self.weight


class Recorded(Update):
    """In place of a step: keeps the gradient."""

    gradient: Tensor

    def __call__(self, features: Tensor, learning_rate: float) -> Callable[[Tensor, object], None]:
        return lambda gradient, d_phi: setattr(self, "gradient", gradient.clone())


@pytest.fixture(scope="module")
def tiny() -> Tiny:
    return Tiny(nn.Sigmoid())


@pytest.fixture(scope="module")
def piecewise() -> Tiny:
    return Tiny(nn.Identity())


def out_of_reach(tiny: Tiny) -> Tensor:
    """What neither z nor the opened layer can express of a feature, as large as the feature: at F = φ(z₀) +
    this the search stands still at z₀, and the Hessian is still 2JᵀJ if φ has no curvature."""
    first, rest = tiny.generator[0], tiny.generator[1:]
    rng, parts = torch.Generator().manual_seed(4), []
    for z in tiny.z:
        w = torch.cat([z, z.new_zeros(8)])
        jacobian = torch.func.jacrev(
            lambda w: tiny.encoder(rest(first(w[None, :LATENTS]) + SIGMA * w[None, LATENTS:]))[0].flatten()
        )(w)
        part = torch.randn(len(jacobian), dtype=torch.float64, generator=rng)
        basis = torch.linalg.svd(jacobian, full_matrices=False)
        reached = basis.U[:, basis.S / basis.S[0] > 1e-9]
        parts.append(part - reached @ (reached.T @ part))
    feature = tiny.encoder(tiny.generator(tiny.z))
    rest_of_it = torch.stack(parts).view_as(feature)
    return rest_of_it * feature.norm() / rest_of_it.norm()


def resolved(phi: Callable[[Tensor], Tensor], feature: Tensor, start: Tensor) -> Tensor:
    """argmin ‖F − φ(z)‖² + λ‖z − z₀‖² for one image, by Newton's method with the full Hessian."""

    def objective(z: Tensor) -> Tensor:
        return (feature - phi(z[None])[0]).square().sum() + LAMBDA * (z - start).square().sum()

    z = start.clone()
    for _ in range(3):
        slope, curvature = torch.func.grad(objective)(z), torch.func.hessian(objective)(z)
        z = z - torch.linalg.solve(curvature, slope)
    return z


class Plain:
    """L_p + β·L_u of one image as a plain function of its feature, every inner problem solved anew."""

    def __init__(self, tiny: Tiny, state: CraftingState, image: int, options: dict) -> None:
        self.tiny, self.state, self.image, self.options = tiny, state, image, options

    def seen(self, feature: Tensor) -> list[Tensor]:
        """x̂ of the latent search and of each other attacker."""
        tiny, z = self.tiny, self.tiny.z[self.image]
        phi = nn.Sequential(tiny.generator, tiny.encoder)
        images = [tiny.generator(resolved(phi, feature, z)[None])]
        first, rest = tiny.generator[0], tiny.generator[1:]

        def opened(w: Tensor) -> Tensor:
            return rest(first(w[:, :LATENTS]) + SIGMA * w[:, LATENTS:])

        for attacker in self.options.get("attackers", ()):
            if isinstance(attacker, OwnDecoder):
                images.append(tiny.decoder(feature[None]))
            else:
                start = torch.cat([z, z.new_zeros(8)])
                images.append(opened(resolved(lambda w: tiny.encoder(opened(w)), feature, start)[None]))
        return images

    def privacy(self, feature: Tensor) -> Tensor:
        critics = [self.state.critic, *(critic for _, critic in self.state.others)]
        losses = []
        attackers = (None, *self.options.get("attackers", ()))
        for image, critic, attacker in zip(self.seen(feature), critics, attackers, strict=True):
            loss = critic.network(critic.average_faces).mean() - critic.network(image)[0]
            if "towards" in self.options:
                drawn = keyed_latents("a", self.tiny.images, LATENTS)[self.image]
                wanted = self.tiny.generator(drawn[None])
                if isinstance(attacker, OwnDecoder):
                    wanted = self.tiny.decoder(self.tiny.encoder(wanted))
                loss = loss + PULL * (image - wanted).square().mean()
            losses.append(loss)
        every = torch.stack(losses)
        return every.max() if self.options.get("combine") == "worst" else every.mean()

    def __call__(self, feature: Tensor) -> Tensor:
        raw = self.tiny.encoder(self.tiny.images[self.image : self.image + 1])[0]
        distance = (feature - raw).square().mean()
        if "utility" not in self.options:
            return self.privacy(feature) + BETA * distance
        utility = OWN_FEATURE * distance
        for name, weight in LAYERS.items():
            part = {"hidden": self.tiny.head[:3], "1": self.tiny.head[:2]}[name]
            utility = utility + weight * (part(feature[None]) - part(raw[None])).square().mean()
        return self.privacy(feature) + BETA * utility


def opened_state(tiny: Tiny, **options) -> tuple[FeatureCrafting, CraftingState]:
    """A batch at F = φ(z₀): there the Hessian of the inner problem is 2JᵀJ to the last digit."""
    crafting = FeatureCrafting(
        AttackerModel(tiny.encoder, tiny.generator),
        BETA,
        solver=EXACT,
        inner=InnerProblem(first=2, starts=1, refresh=0),
        critic=CriticTraining(steps=0, warmup=0, batch=2, width=4),
        health=HealthCheck(every=0),
        head=tiny.head,
        decoder=tiny.decoder,
        **options,
    )
    state = crafting.start(tiny.images, torch.Generator().manual_seed(0))
    state.z = tiny.z.clone()
    state.features.copy_(crafting.model(state.z).features)
    state.critic.network = SmoothCritic(0)
    for number, (opponent, critic) in enumerate(state.others):
        critic.network = SmoothCritic(1 + number)
        if hasattr(opponent, "z"):
            opponent.z = torch.cat([tiny.z, tiny.z.new_zeros(2, 8)], dim=1)
    return crafting, state


ATTACKERS: dict[str, tuple[Sequence[InnerAttacker], str]] = {
    "alone": ((), "mean"),
    "opened": ([OpenedLayers(SIGMA, 1, EXACT)], "mean"),
    "decoder": ([OwnDecoder()], "mean"),
    "all, mean": ([OpenedLayers(SIGMA, 1, EXACT), OwnDecoder()], "mean"),
    "all, worst": ([OpenedLayers(SIGMA, 1, EXACT), OwnDecoder()], "worst"),
}


@pytest.mark.parametrize("attackers", ATTACKERS)
@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("layers", [False, True])
@pytest.mark.parametrize("reached", [True, False])
def test_every_combination_follows_the_gradient_of_the_problem_solved_anew(
    tiny: Tiny, piecewise: Tiny, attackers: str, keyed: bool, layers: bool, reached: bool
) -> None:
    """Finite differences of L_p + β·L_u, with each attacker's inner problem solved to the end: of a feature
    that the prior can express, and of one that it cannot, which moves along J all the same."""
    tiny = tiny if reached else piecewise
    chosen, combine = ATTACKERS[attackers]
    options: dict = {"attackers": chosen, "combine": combine}
    options |= {"towards": KeyedFaces("a", PULL)} if keyed else {}
    options |= {"utility": PublicLayers(LAYERS, OWN_FEATURE)} if layers else {}
    recorded = Recorded()
    crafting, state = opened_state(tiny, update=recorded, **options)
    if not reached:
        state.features.add_(out_of_reach(tiny))
    features = state.features.clone()
    crafting.step(state)
    rng, step = torch.Generator().manual_seed(1), 1e-5
    for image in range(2):
        plain = Plain(tiny, state, image, options)
        way = torch.randn(features[0].shape, generator=rng, dtype=torch.float64)
        up, down = (plain(features[image] + sign * step * way) for sign in (1, -1))
        found = (recorded.gradient[image] * way).sum()
        torch.testing.assert_close(found, (up - down).squeeze() / (2 * step), rtol=1e-5, atol=1e-8)


def test_steps_in_the_span_are_ones_that_the_prior_can_follow(tiny: Tiny) -> None:
    """By the closed form J (JᵀJ + εI)⁻¹ Jᵀ, whose range is the span of J's columns."""
    phi = nn.Sequential(tiny.generator, tiny.encoder)
    value, derivative = Linearizer(phi)(tiny.z)
    features, damping = value.clone(), 1e-4
    gradient = torch.randn(features.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    SpanSteps(momentum=0.0, damping=damping, steps=LATENTS)(features, 0.1)(gradient, derivative)
    for image in range(2):
        jacobian = torch.func.jacrev(lambda z: phi(z[None])[0].flatten())(tiny.z[image])
        unit = gradient[image].flatten() / gradient[image].norm()
        ridge = damping * torch.eye(LATENTS, dtype=torch.float64)
        projected = jacobian @ torch.linalg.solve(jacobian.T @ jacobian + ridge, jacobian.T @ unit)
        moved = (features - value)[image].flatten()
        torch.testing.assert_close(moved, -0.1 * len(unit) ** 0.5 * projected, rtol=1e-5, atol=1e-8)


def test_steps_in_the_span_remember_directions_and_not_lengths(tiny: Tiny) -> None:
    """A plain loop over three gradients of very different lengths, at the momentum that studies have."""
    phi = nn.Sequential(tiny.generator, tiny.encoder)
    value, derivative = Linearizer(phi)(tiny.z)
    jacobians = [torch.func.jacrev(lambda z: phi(z[None])[0].flatten())(z) for z in tiny.z]
    ridge = torch.eye(LATENTS, dtype=torch.float64)
    features, rng = value.clone(), torch.Generator().manual_seed(1)
    step = SpanSteps(momentum=0.9, damping=1.0, steps=LATENTS)(features, 0.1)
    expected, memory = value.flatten(1).clone(), torch.zeros_like(value.flatten(1))
    for length in (1.0, 1e3, 1e-3):
        gradient = length * torch.randn(value.shape, dtype=torch.float64, generator=rng)
        step(gradient, derivative)
        for image, jacobian in enumerate(jacobians):
            unit = gradient[image].flatten() / gradient[image].norm()
            memory[image] = 0.9 * memory[image] + 0.1 * unit
            seen = torch.linalg.solve(jacobian.T @ jacobian + ridge, jacobian.T @ memory[image])
            expected[image] -= 0.1 * len(unit) ** 0.5 * jacobian @ seen
    torch.testing.assert_close(features.flatten(1), expected, rtol=1e-5, atol=1e-8)


def test_an_opened_search_follows_the_feature_to_where_its_gradient_holds(tiny: Tiny) -> None:
    """The implicit gradient is that of a stationary (z, u); left where it was, it is another feature's."""
    _, state = opened_state(tiny, attackers=[OpenedLayers(SIGMA, 1, EXACT)])
    ((opponent, _),) = state.others
    opponent.inner = replace(opponent.inner, damping=1e-9, steps=60)  # φ of these networks hardly moves
    rng = torch.Generator().manual_seed(2)
    state.features.add_(0.05 * torch.randn(state.features.shape, dtype=torch.float64, generator=rng))

    def slope() -> Tensor:
        z = opponent.z.clone().requires_grad_()
        images = opponent.model.generator(z)
        return torch.autograd.grad((state.features - tiny.encoder(images)).square().sum(), z)[0].norm()

    before = slope()
    for _ in range(20):
        opponent.look(state.features)
        opponent.follow(state.features)
    assert slope() < 1e-3 * before


def test_a_stranger_belongs_to_an_image_and_a_secret_alone() -> None:
    """Else averaging would undo him: a batch, its order or a query must not matter."""
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    drawn = keyed_latents("a", images, 500)
    assert torch.equal(keyed_latents("a", images.flip(0), 500), drawn.flip(0))
    other = images.clone()
    other[0, 0, 0, 0] = (images[0, 0, 0, 0] + 0.5) % 1
    for unrelated in (keyed_latents("b", images, 500)[0], keyed_latents("a", other, 500)[0], drawn[1]):
        assert nn.functional.cosine_similarity(unrelated, drawn[0], dim=0).abs() < 0.2
    assert abs(drawn.mean()) < 0.1
    assert abs(drawn.std() - 1) < 0.1


def test_a_stranger_depends_on_more_of_the_digest_than_could_be_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With 32 bits of it, whoever knows the prior finds the stranger, and tests secrets, in hours."""
    drawn = []
    for place in (0, 5, 9, 15):
        digest = bytearray(32)
        digest[place] = 1
        monkeypatch.setattr(hmac.HMAC, "digest", lambda _, made=bytes(digest): made)
        drawn.append(keyed_latents("a", torch.zeros(1, 3, 8, 8), 50)[0])
    assert all(not torch.equal(one, other) for one, other in itertools.combinations(drawn, 2))


def test_layers_of_the_head_go_by_the_names_that_attackers_use(tiny: Tiny) -> None:
    features = torch.randn(2, 4, 2, 2, dtype=torch.float64)
    torch.testing.assert_close(public_layer(tiny.head, "logits")(features), tiny.head(features))
    torch.testing.assert_close(public_layer(tiny.head, "hidden")(features), tiny.head[:3](features))
    torch.testing.assert_close(public_layer(tiny.head, "0")(features), tiny.head[0](features))
    through = ThroughHead(tiny.head, {"0": 1.0})(features)
    torch.testing.assert_close(through.flatten(1), tiny.head[0](features).flatten(1))


@pytest.mark.parametrize(
    ("head", "name", "said"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), "2", "no layer '2'; it has 0, 1, hidden, logits"),
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), "feature", "no layer 'feature'"),
        (nn.Sequential(nn.Flatten()), "hidden", "no layer 'hidden'"),
        (nn.Sequential(nn.Linear(4, 2)), "hidden", "no layer 'hidden'"),
        (nn.Linear(4, 2), "hidden", "no layer 'hidden'; it has logits"),
    ],
)
def test_a_layer_that_the_head_lacks_is_named(head: nn.Module, name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        public_layer(head, name)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"utility": PublicLayers()}, "public head"), ({"attackers": [OwnDecoder()]}, "needs a decoder")],
)
def test_a_part_without_its_network_says_which(tiny: Tiny, options: dict, said: str) -> None:
    model, critic = AttackerModel(tiny.encoder, tiny.generator), CriticTraining(warmup=0)
    crafting = FeatureCrafting(model, critic=critic, **options)
    with pytest.raises(ValueError, match=said):
        crafting.start(tiny.images, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("layers", [{"hidden": 0.0}, {}])
def test_without_a_layer_that_weighs_the_feature_itself_counts(tiny: Tiny, layers: dict[str, float]) -> None:
    raw = tiny.encoder(tiny.images)
    found, alone = (
        utility(raw, tiny.head)(raw + 0.1) for utility in (PublicLayers(layers, 2.0), FeatureDistance())
    )
    torch.testing.assert_close(found.loss, 2 * alone.loss)
    torch.testing.assert_close(found.gradient, 2 * alone.gradient)


@pytest.mark.parametrize(
    "make",
    [
        lambda: KeyedFaces(""),
        lambda: KeyedFaces("a", 0.0),
        lambda: PublicLayers({"hidden": -1.0}),
        lambda: PublicLayers({"hidden": 0.0}),
        lambda: PublicLayers({}),
        lambda: SpanSteps(momentum=1.0),
        lambda: OpenedLayers(scale=0.0),
    ],
)
def test_settings_that_would_do_nothing_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"must|needs"):
        make()
