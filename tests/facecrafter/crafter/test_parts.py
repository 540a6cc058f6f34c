"""Crafter's exchangeable parts: what each moves F along, held against plain re-solved problems in float64."""

from __future__ import annotations

import hmac
import itertools
from collections.abc import Callable
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

SIZE, LATENTS, LAMBDA, BETA, SIGMA, PULL = 32, 3, 0.4, 15.0, 0.5, 300.0
EXACT = ConjugateGradient(LAMBDA, steps=60)
LAYERS, OWN_FEATURE = {"hidden": 1.0, "1": 0.5}, 0.3
STEP = 1e-5


class Tiny:
    """Networks that can be solved to the end; φ may be piecewise linear. No unit is dead, and images have
    contrast enough for ∂φ/∂z to count beside λ."""

    def __init__(self, last: nn.Module) -> None:
        torch.manual_seed(3)
        self.generator = nn.Sequential(
            nn.Linear(LATENTS, 8),
            nn.Unflatten(1, (2, 2, 2)),
            nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(2, 3, 16, stride=16),
            last,
        ).double()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 4, 8, stride=8), nn.LeakyReLU(0.2), nn.Conv2d(4, 4, 2, stride=2)
        ).double()
        self.head = nn.Sequential(nn.Conv2d(4, 5, 2), nn.Tanh(), nn.Flatten(), nn.Linear(5, 2)).double()
        self.decoder = nn.Sequential(nn.ConvTranspose2d(4, 3, 16, stride=16), nn.Sigmoid()).double()
        for network in (self.generator, self.encoder, self.head, self.decoder):
            network.requires_grad_(False)
        gains = {self.generator[3]: 50, self.decoder[0]: 30, self.encoder[0]: 3, self.encoder[2]: 3}
        for layer, gain in gains.items():
            layer.weight.mul_(gain)
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


CRITICS = {name: SmoothCritic(seed) for seed, name in enumerate(("search", "opened", "decoder"))}


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
    for _ in range(2):
        slope, curvature = torch.func.grad(objective)(z), torch.func.hessian(objective)(z)
        z = z - torch.linalg.solve(curvature, slope)
    return z


class Plain:
    """The losses of one image as plain functions of its feature, every inner problem solved anew.

    Attributes:
        losses: there; for each attacker −D(x̂) and the pull, and both kinds of L_u.
        slopes: of each, by every element of the feature (C, h, w).
    """

    def __init__(self, tiny: Tiny, image: int, feature: Tensor) -> None:
        self.tiny, self.z, self.feature = tiny, tiny.z[image], feature
        self.raw = tiny.encoder(tiny.images)[image]
        self.wanted = tiny.generator(keyed_latents("a", tiny.images, LATENTS))[image]
        self.losses = self._at(feature)
        moves = STEP * torch.eye(feature.numel(), dtype=torch.float64).view(-1, *feature.shape)
        up, down = (torch.vmap(self._at)(feature + sign * moves) for sign in (1, -1))
        self.slopes = {name: ((up[name] - down[name]) / (2 * STEP)).view_as(feature) for name in up}

    def _at(self, feature: Tensor) -> dict[str, Tensor]:
        losses = {"features": (feature - self.raw).square().mean()}
        losses["layers"] = OWN_FEATURE * losses["features"]
        for name, weight in LAYERS.items():
            part = {"hidden": self.tiny.head[:3], "1": self.tiny.head[:2]}[name]
            losses["layers"] = losses["layers"] + weight * (part(feature) - part(self.raw)).square().mean()
        decoded = self.tiny.decoder(self.tiny.encoder(self.wanted))
        for name, image in self._seen(feature).items():
            wanted = decoded if name == "decoder" else self.wanted
            losses[f"{name}'s critic"] = -CRITICS[name](image[None])[0]
            losses[f"{name}'s pull"] = PULL * (image - wanted).square().mean()
        return losses

    def _seen(self, feature: Tensor) -> dict[str, Tensor]:
        """x̂ of each attacker."""
        tiny = self.tiny
        first, rest = tiny.generator[0], tiny.generator[1:]

        def opened(w: Tensor) -> Tensor:
            return rest(first(w[:, :LATENTS]) + SIGMA * w[:, LATENTS:])

        start = torch.cat([self.z, self.z.new_zeros(8)])
        z = resolved(nn.Sequential(tiny.generator, tiny.encoder), feature, self.z)
        w = resolved(lambda w: tiny.encoder(opened(w)), feature, start)
        images = (tiny.generator(z[None])[0], opened(w[None])[0], tiny.decoder(feature))
        return dict(zip(CRITICS, images, strict=True))


@pytest.fixture(scope="module")
def solved(tiny: Tiny, piecewise: Tiny) -> dict[bool, list[Plain]]:
    """At a feature that the prior can express, and at one that it cannot."""
    found = {}
    for reached, networks in ((True, tiny), (False, piecewise)):
        features = networks.encoder(networks.generator(networks.z))
        features = features if reached else features + out_of_reach(networks)
        found[reached] = [Plain(networks, image, feature) for image, feature in enumerate(features)]
    return found


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
    state.critic.network = CRITICS["search"]
    for opponent, critic in state.others:
        critic.network = CRITICS["opened" if hasattr(opponent, "z") else "decoder"]
        if hasattr(opponent, "z"):
            opponent.z = torch.cat([tiny.z, tiny.z.new_zeros(2, 8)], dim=1)
    return crafting, state


INNER: dict[str, InnerAttacker] = {"opened": OpenedLayers(SIGMA, 1, EXACT), "decoder": OwnDecoder()}
ATTACKERS: dict[str, tuple[tuple[str, ...], str]] = {
    "alone": ((), "mean"),
    "opened": (("opened",), "mean"),
    "decoder": (("decoder",), "mean"),
    "all, mean": (("opened", "decoder"), "mean"),
    "all, worst": (("opened", "decoder"), "worst"),
}


def expected(state: CraftingState, plain: Plain, attackers: str, keyed: bool, layers: bool) -> Tensor:
    """Of the critic's part of L_p, the pull's, and β·L_u: the gradients (3, C, h, w)."""
    chosen, combine = ATTACKERS[attackers]
    critics = [state.critic, *(critic for _, critic in state.others)]
    gaps, slopes = [], []
    for name, critic in zip(("search", *chosen), critics, strict=True):
        parts = [f"{name}'s critic", f"{name}'s pull"]
        average = critic.network(critic.average_faces).mean()
        gaps.append(average + sum(plain.losses[part] for part in parts[: 1 + keyed]))
        slopes.append(torch.stack([plain.slopes[part] for part in parts]))
    privacy = slopes[torch.stack(gaps).argmax()] if combine == "worst" else torch.stack(slopes).mean(dim=0)
    return torch.stack(
        [privacy[0], keyed * privacy[1], BETA * plain.slopes["layers" if layers else "features"]]
    )


@pytest.mark.parametrize("attackers", ATTACKERS)
@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("layers", [False, True])
@pytest.mark.parametrize("reached", [True, False])
def test_every_combination_follows_the_gradient_of_the_problem_solved_anew(
    tiny: Tiny,
    piecewise: Tiny,
    solved: dict[bool, list[Plain]],
    attackers: str,
    keyed: bool,
    layers: bool,
    reached: bool,
) -> None:
    """Finite differences of L_p + β·L_u, with each attacker's inner problem solved to the end: of a feature
    that the prior can express, and of one that it cannot, which moves along J all the same."""
    chosen, combine = ATTACKERS[attackers]
    options: dict = {"attackers": [INNER[name] for name in chosen], "combine": combine}
    options |= {"towards": KeyedFaces("a", PULL)} if keyed else {}
    options |= {"utility": PublicLayers(LAYERS, OWN_FEATURE)} if layers else {}
    recorded = Recorded()
    crafting, state = opened_state(tiny if reached else piecewise, update=recorded, **options)
    state.features.copy_(torch.stack([plain.feature for plain in solved[reached]]))
    crafting.step(state)
    for found, plain in zip(recorded.gradient, solved[reached], strict=True):
        critic, pull, utility = expected(state, plain, attackers, keyed, layers)
        torch.testing.assert_close(found, critic + pull + utility, rtol=1e-5, atol=1e-8)
        counting = {"L_p": critic + pull, "L_u": utility} | ({"the pull": pull} if keyed else {})
        shares = {name: (part.norm() / found.norm()).item() for name, part in counting.items()}
        assert min(shares.values()) > 0.1, f"what hardly counts is not compared: {shares}"


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
