"""MIRROR on a toy whose images are linear in the style: what it finds, where it looks, and what it costs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from small_networks import seeded
from torch import Tensor, nn

from facecrafter.attacks import Mirror, MirrorGenetic
from facecrafter.attacks.mirror.mirror import ramp
from facecrafter.attacks.mirror.p_space import PSpace, to_p, to_w
from facecrafter.attacks.mirror.style_model import StyleModel, best_starts
from facecrafter.crafter.inversion import squared_distance
from facecrafter.nets.stylegan2.generator import StyleGenerator

STYLE = 6
SAMPLES = 2_000


class LinearSynthesis(nn.Module):
    """Images in [-1, 1] that are linear in the mean style, so that a feature has one style."""

    n_styles = 6

    def __init__(self) -> None:
        super().__init__()
        basis, _ = torch.linalg.qr(torch.randn(3 * 16 * 16, STYLE, generator=seeded()).double())
        self.basis = nn.Parameter(basis)

    def forward(self, ws: Tensor) -> Tensor:
        return (ws.mean(dim=1) @ self.basis.T).reshape(-1, 3, 16, 16)


def toy() -> tuple[nn.Sequential, StyleGenerator]:
    """An encoder that forgets nothing and a generator with a real mapping, in float64."""
    torch.manual_seed(0)
    generator = StyleGenerator(16, STYLE, STYLE, mapping_layers=3, channel_base=32, channel_max=2)
    generator.synthesis = LinearSynthesis()
    generator.mapping.w_avg.copy_(0.1 * torch.randn(STYLE))
    encoder = nn.Sequential(nn.Conv2d(3, 12, 2, stride=2))
    nn.init.orthogonal_(encoder[0].weight)
    return encoder.double(), generator.double()


def white(**options) -> Mirror:
    numbers = {"iterations": 100, "starts": 20, "truncation": 1.0, "samples": SAMPLES}
    return Mirror(*toy(), **{**numbers, "precision": "32", **options})


def black(**options) -> MirrorGenetic:
    numbers = {"queries": 600, "starts": 60, "population": 10, "truncation": 1.0, "samples": SAMPLES}
    return MirrorGenetic(*toy(), **{**numbers, "precision": "32", **options})


def box(bound: float = 1.0) -> PSpace:
    return PSpace(toy()[1].requires_grad_(False).mapping, bound, SAMPLES)


def model() -> StyleModel:
    return StyleModel(*toy(), truncation=1.0, precision="32")


def faces(count: int = 3) -> tuple[Tensor, Tensor]:
    """Images of styles within the box, and their features."""
    space, attacker = box(), model()
    w = to_w(space.clip(to_p(space.draw(count, seeded(7)))))
    return attacker.show(w), attacker.features(w)


def all_told(features: Tensor) -> Tensor:
    """Of every channel, that it was told (N, C, 1, 1)."""
    return torch.ones_like(features[:, :, :1, :1])


def counted(network: nn.Module) -> list[int]:
    """Receives the number of images of every later call."""
    calls: list[int] = []
    network.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    return calls


def test_p_is_what_the_mappings_last_activation_was_made_of() -> None:
    """√2·LeakyReLU_0.2(x) -> √2·x and back: in p-space a mapping of one layer gives normal numbers."""
    x = torch.randn(50, STYLE, generator=seeded(), dtype=torch.float64)
    w = math.sqrt(2) * nn.functional.leaky_relu(x, 0.2)
    torch.testing.assert_close(to_p(w), math.sqrt(2) * x)
    torch.testing.assert_close(to_w(to_p(w)), w)


def test_the_statistics_are_those_of_all_samples_at_once() -> None:
    space = box()
    p = to_p(space.draw(SAMPLES, seeded())).numpy()
    np.testing.assert_allclose(space.mean, p.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(space.deviation, p.std(axis=0), rtol=1e-9)


@pytest.mark.parametrize("bound", [0.5, 1.0])
def test_the_clip_is_exact_in_every_coordinate(bound: float) -> None:
    space = box(bound)
    p = to_p(3 * space.draw(200, seeded(1)))
    low, high = (space.mean + sign * bound * space.deviation for sign in (-1, 1))
    for coordinate in range(STYLE):
        expected = np.clip(p[:, coordinate].numpy(), low[coordinate].item(), high[coordinate].item())
        np.testing.assert_array_equal(space.clip(p)[:, coordinate], expected)
    assert (p < low).any()
    assert (p > high).any()


def test_truncation_draws_the_eight_coarse_layers_towards_the_mean_style() -> None:
    torch.manual_seed(0)
    generator = StyleGenerator(64, STYLE, STYLE, 2, channel_base=64, channel_max=4).double()
    generator.mapping.w_avg.normal_()
    w = generator.mapping(torch.randn(2, STYLE, generator=seeded()).double()).detach()
    ws = torch.stack([0.7 * w + 0.3 * generator.mapping.w_avg] * 8 + [w] * 2, dim=1)
    attacker = StyleModel(toy()[0], generator, truncation=0.7, precision="32")
    torch.testing.assert_close(attacker.show(w), generator.show(ws).detach())


def test_of_many_random_styles_the_nearest_are_the_start() -> None:
    attacker, space, (_, features) = model(), box(), faces()
    w, losses = best_starts(attacker, space, features, all_told(features), starts=250, keep=3, seed=5)
    random = seeded(5)
    pool = torch.cat([space.draw(count, random) for count in (100, 100, 50)])
    for feature, styles, found in zip(features, w, losses, strict=True):
        distances = [(feature - attacker.features(each[None])[0]).square().sum().item() for each in pool]
        order = np.argsort(distances)[:3]
        np.testing.assert_allclose(found, np.array(distances)[order], rtol=1e-9)
        torch.testing.assert_close(styles, pool[order])


def test_the_start_is_nearest_in_the_channels_that_were_told() -> None:
    """Otherwise the best of the random styles are those whose images make the most of zeros."""
    attacker, space, (_, features) = model(), box(), faces()
    told = (torch.rand(3, 12, 1, 1, generator=seeded(2)) < 0.6).double()
    w, losses = best_starts(attacker, space, features * told, told, starts=250, keep=3, seed=5)
    random = seeded(5)
    found = attacker.features(torch.cat([space.draw(count, random) for count in (100, 100, 50)]))
    for row in range(3):
        channels = told[row].flatten().bool()
        expected = squared_distance(features[row, channels], found[:, channels]).sort().values[:3]
        torch.testing.assert_close(losses[row], expected)
        again = squared_distance(features[row, channels], attacker.features(w[row])[:, channels])
        torch.testing.assert_close(again, expected)


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [ramp(iteration, 999) for iteration in range(999)]
    assert rates[0] == pytest.approx(1 / 1000 / 0.05)
    assert rates[24] == pytest.approx(0.5)
    assert rates[49:749] == pytest.approx([1.0] * 700)
    assert rates[874] == pytest.approx(0.5)
    assert rates[-1] == pytest.approx((1 - math.cos(math.pi * 0.001 / 0.25)) / 2)


def test_the_style_behind_a_feature_is_recovered() -> None:
    attack = white(iterations=300)
    images, features = faces()
    result = attack.reconstruct(features, seeded())
    assert result.images.shape == (3, 1, 3, 16, 16)
    assert result.images.dtype == result.losses.dtype == torch.float32
    assert (result.losses < 1e-6).all()
    torch.testing.assert_close(result.best(), images.float(), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("make", "share"), [("white", 0.05), ("black", 0.5)])
def test_withheld_channels_lead_no_search_away_from_the_face(make: str, share: float) -> None:
    """Eight of twelve channels say more than a style has coordinates: zeros in the others hide nothing."""
    attack = white(iterations=300) if make == "white" else black(queries=5000, population=50)
    images, features = faces()
    sent = features.clone()
    for row, feature in enumerate(sent):
        feature[torch.randperm(12, generator=seeded(row))[:4]] = 0
    error = (attack.reconstruct(sent, seeded()).best() - images).square().mean(dim=(1, 2, 3))
    attack.told = all_told
    by_zeros = (attack.reconstruct(sent, seeded()).best() - images).square().mean(dim=(1, 2, 3))
    assert (error < share * by_zeros).all()


def test_the_search_stays_where_faces_are() -> None:
    """A feature of no face pulls as far as it may: all coordinates end on the bound or within."""
    attack = white(iterations=50, starts=2, bound=0.5)
    seen: list[Tensor] = []
    show = attack.model.show
    attack.model.show = lambda w: (seen.append(to_p(w.detach().clone())), show(w))[1]
    far = 100 * torch.randn(2, 12, 8, 8, generator=seeded(), dtype=torch.float64)
    attack.reconstruct(far, seeded())
    space, clipped = attack.space, torch.cat(seen[2:])  # the random styles, and the start, may be outside
    reach = (clipped - space.mean).abs() / space.deviation
    assert reach.max() == pytest.approx(0.5, abs=1e-9)


def test_the_loss_is_that_of_the_image_returned() -> None:
    attack = white(iterations=10, restarts=2, truncation=0.7)
    features = torch.randn(3, 12, 8, 8, generator=seeded(), dtype=torch.float64)
    result = attack.reconstruct(features, seeded())
    for restart in range(2):
        again = squared_distance(features, toy()[0](result.images[:, restart].double()))
        torch.testing.assert_close(result.losses[:, restart].double(), again.detach(), rtol=1e-5, atol=0)


def test_the_best_of_the_path_is_kept() -> None:
    """Steps far too long lead away: what is shown must be no worse than the start."""
    attack = white(iterations=5, learning_rate=50.0)
    _, features = faces()
    _, start = best_starts(attack.model, attack.space, features, all_told(features), 20, 1, seed=0)
    assert (attack.reconstruct(features, seeded()).losses <= start * (1 + 1e-6)).all()


def test_more_restarts_keep_the_first_ones() -> None:
    features = faces()[1]
    few = white(iterations=5, restarts=1).reconstruct(features, seeded())
    many = white(iterations=5, restarts=3).reconstruct(features, seeded())
    torch.testing.assert_close(few.images[:, 0], many.images[:, 0])


@pytest.mark.parametrize("make", [white, black])
def test_an_image_alone_gives_what_it_gives_in_a_batch(make) -> None:
    features = torch.randn(3, 12, 8, 8, generator=seeded(), dtype=torch.float64)
    rows = torch.tensor([9, 4, 7])
    together = make().reconstruct(features, seeded(), rows=rows)
    alone = make().reconstruct(features[1:2], seeded(), rows=rows[1:2])
    torch.testing.assert_close(together.images[1:2], alone.images, atol=1e-6, rtol=0)
    torch.testing.assert_close(together.losses[1:2], alone.losses)


def test_the_white_box_budget_is_honoured_and_reported() -> None:
    attack = white(iterations=4, starts=150, restarts=2)
    calls, seen = counted(attack.model.encoder), []
    attack.reconstruct(faces(3)[1], seeded(), lambda done, total: seen.append((done, total)))
    assert calls == [100, 50, *[6] * 4, 6, 6], "starts, steps, the last point, and what is shown"
    assert seen == [(step, 4) for step in range(1, 5)]


def test_some_steps_mirror_the_image_and_none_of_them_is_judged() -> None:
    attack = white(iterations=40, flips=True)
    _, features = faces()
    shown: list[Tensor] = []
    encoded: list[Tensor] = []
    show = attack.model.show
    attack.model.show = lambda w: (shown.append(show(w)), shown[-1])[1]
    attack.model.encoder.register_forward_pre_hook(lambda _, inputs: encoded.append(inputs[0]))
    result = attack.reconstruct(features, seeded())
    flipped = [not torch.equal(*pair) for pair in zip(shown, encoded, strict=True)]
    assert 10 < sum(flipped) < 30
    assert not any(flipped[-2:]), "what is judged last and shown is no mirror image"
    again = squared_distance(features, toy()[0](result.best().double())).detach()
    torch.testing.assert_close(result.losses[:, 0].double(), again, rtol=1e-3, atol=1e-9)


def test_reduced_precision_finds_what_full_precision_finds() -> None:
    encoder, generator = (network.float() for network in toy())
    features = toy()[0].float()(generator(torch.randn(2, STYLE, generator=seeded(3)))).detach()
    for precision in ("32", "bf16"):
        attack = Mirror(encoder, generator, 200, 1, 20, truncation=1.0, bound=3.0, precision=precision)
        result = attack.reconstruct(features, seeded())
        assert (result.losses[:, 0] / features.square().flatten(1).sum(dim=1) < 1e-4).all()
        exact = squared_distance(features, encoder(result.best())).detach()
        torch.testing.assert_close(result.losses[:, 0], exact, rtol=1e-4, atol=1e-9)


def test_the_elite_of_a_generation_is_never_lost() -> None:
    _, features = faces()
    budgets = [61 + 9 * generations for generations in (1, 2, 5, 20, 60)]
    losses = torch.cat(
        [black(queries=each).reconstruct(features, seeded()).losses for each in budgets], dim=1
    )
    assert (losses.diff(dim=1) <= 0).all()
    assert (losses[:, -1] < losses[:, 0]).all()


def test_generations_come_near_a_face() -> None:
    attack = black(queries=5000, population=50)
    _, features = faces()
    _, start = best_starts(attack.model, attack.space, features, all_told(features), 60, 1, seed=0)
    result = attack.reconstruct(features, seeded())
    assert (result.losses < start / 20).all()
    again = squared_distance(features, toy()[0](result.best().double())).detach()
    torch.testing.assert_close(result.losses[:, 0].double(), again, rtol=1e-4, atol=1e-7)


def test_the_black_box_attack_asks_for_features_alone() -> None:
    """Within its budget, image by image, and with gradients switched off throughout."""
    attack = black(queries=655, starts=60)
    calls, seen = counted(attack.model.encoder), []
    attack.model.encoder.register_forward_hook(lambda *outputs: seen.append(torch.is_grad_enabled()))
    done: list[tuple[int, int]] = []
    attack.reconstruct(faces(2)[1], seeded(), lambda *progress: done.append(progress))
    shared, own = calls[0], sum(calls[1:]) / 2
    assert (shared, own) == (60, 9 * attack.generations + 1)
    assert shared + own <= 655 < shared + own + 9
    assert done[-1] == (attack.generations, attack.generations)
    assert not any(seen)
    assert attack.access == "black"


def test_without_mutation_children_have_their_parents_coordinates() -> None:
    attack = black(mutation=0.0)
    p = torch.randn(10, STYLE, generator=seeded(), dtype=torch.float64)
    loss = torch.linspace(1, 2, 10).double()
    children = attack._children(p, loss, seeded())
    assert len(children) == 9
    for coordinate in range(STYLE):
        assert set(children[:, coordinate].tolist()) <= set(p[:, coordinate].tolist())
    assert len({tuple(child.tolist()) for child in children} - {tuple(one.tolist()) for one in p}) > 5


def test_the_fitter_have_more_children() -> None:
    """Parents are drawn by softmax(−standardised loss); the one with the lower loss gives more."""
    attack = black(mutation=0.0, population=4, queries=100)
    p = torch.eye(4, STYLE, dtype=torch.float64)
    loss = torch.tensor([1.0, 2.0, 3.0, 4.0]).double()
    random = seeded()
    counts = torch.stack([attack._children(p, loss, random)[:, :4].mean(dim=0) for _ in range(4000)]).mean(
        dim=0
    )
    weights = (-(loss - loss.mean()) / loss.std()).softmax(dim=0)
    shares = loss[None] / (loss[None] + loss[:, None])  # of i's coordinates in a child of i and j
    expected = weights * (weights[None] * 2 * shares).sum(dim=1)
    torch.testing.assert_close(counts, expected, atol=0.01, rtol=0)


def test_mutations_are_uniform_within_their_size_and_rate() -> None:
    attack = black(mutation=0.5, mutation_rate=0.3, population=10)
    p = torch.zeros(10, STYLE, dtype=torch.float64)
    children = torch.cat([attack._children(p, torch.ones(10).double(), seeded(n)) for n in range(300)])
    relative = children / attack.space.deviation
    assert (relative != 0).double().mean().item() == pytest.approx(0.3, abs=0.02)
    assert relative.abs().max().item() == pytest.approx(0.5, abs=0.01)
    assert relative[relative != 0].var().item() == pytest.approx(1 / 12, rel=0.05)


def test_the_encoders_units_do_not_decide_how_hard_is_selected() -> None:
    encoder, generator = toy()
    features = torch.randn(2, 12, 8, 8, generator=seeded(), dtype=torch.float64)
    small = black().reconstruct(features, seeded())
    with torch.no_grad():
        encoder[0].weight.mul_(8)
        encoder[0].bias.mul_(8)
    large = MirrorGenetic(encoder, generator, 600, 60, 10, truncation=1.0, samples=SAMPLES, precision="32")
    torch.testing.assert_close(large.reconstruct(8 * features, seeded()).images, small.images)


@pytest.mark.parametrize("attack", [Mirror, MirrorGenetic])
def test_other_generators_and_features_are_refused(attack) -> None:
    encoder, generator = toy()
    with pytest.raises(ValueError, match="Sequential has no styles to search"):
        attack(encoder, nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(ValueError, match=r"\(7, 8, 8\).*\(12, 8, 8\)"):
        attack(encoder, generator, samples=10).reconstruct(torch.zeros(1, 7, 8, 8).double(), seeded())


@pytest.mark.parametrize("attack", [Mirror, MirrorGenetic])
def test_the_networks_are_left_as_they_were(attack) -> None:
    encoder, generator = toy()
    attack(encoder.train(), generator.train(), samples=10)
    for network in (encoder, generator):
        assert network.training
        assert all(weight.requires_grad for weight in network.parameters())


@pytest.mark.parametrize(
    "numbers",
    [
        {"iterations": 0},
        {"restarts": 0},
        {"starts": 1, "restarts": 2},
        {"learning_rate": 0.0},
        {"truncation": 0.0},
        {"bound": 0.0},
        {"samples": 1},
    ],
)
def test_numbers_without_meaning_are_refused_white_box(numbers: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(numbers))):
        white(**numbers)


@pytest.mark.parametrize(
    "numbers",
    [{"queries": 69}, {"population": 1}, {"population": 61}, {"mutation_rate": 1.5}, {"mutation": -1}],
)
def test_numbers_without_meaning_are_refused_black_box(numbers: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(numbers))):
        black(**numbers)
