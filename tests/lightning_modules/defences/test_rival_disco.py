"""Disco: three players, each with the gradient it is stated to have; the published two bugs are not here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from toy_rivals import (
    CHANNELS,
    IGNORED,
    SIDE,
    assert_descends,
    assert_published,
    assert_same_weights,
    fit,
    fit_from_the_command_line,
    toy_batch,
    toy_tail,
    toy_target,
    train_only,
)

from facecrafter.crafter.inversion import AttackerModel
from facecrafter.losses.games import DistanceForm, published_distance
from facecrafter.nets.generator import Generator1
from facecrafter.nets.pruner import Pruner
from facecrafter.store import TensorStore, encoder_hash
from lightning_modules import Disco

SMALL = {"width": 4, "blocks": 1, "ratio": 0.5}


@pytest.fixture(autouse=True)
def small_pruner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facecrafter.nets.pruner.resnet18_tail", toy_tail)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> str:
    return toy_target(tmp_path_factory.mktemp("networks"))


def rival(target: str, lambda_: float = 0.5, loss: DistanceForm = "per_image") -> Disco:
    torch.manual_seed(5)
    return Disco(target, SIDE, lambda_, loss, **SMALL)


def gates_by_hand(scores: Tensor) -> Tensor:
    """sigmoid((s − s₍₂₎) / T) for four channels of which half are pruned, channel by channel."""
    rows = []
    for row in scores:
        third_smallest = sorted(row, key=float)[2]
        rows.append(torch.stack([1 / (1 + torch.exp(-30 * (s - third_smallest))) for s in row]))
    return torch.stack(rows)[:, :, None, None]


def task(module: Disco, features: Tensor) -> Tensor:
    probability, labels = module.head(features).sigmoid(), toy_batch()["attributes"]
    return -(labels * probability.log() + (1 - labels) * (1 - probability).log()).mean()


def reconstruction(module: Disco, features: Tensor, loss: DistanceForm = "per_image") -> Tensor:
    if loss == "published":
        return published_distance(module.decoder(features), toy_batch()["image"])
    return (module.decoder(features) - toy_batch()["image"]).square().mean()


def pruned(module: Disco) -> Tensor:
    encoder, pruner = module.encoder
    features = encoder(toy_batch()["image"])
    return features * gates_by_hand(pruner.scores(features))


@pytest.mark.parametrize("loss", ["published", "per_image"])
def test_each_players_gradient_is_that_of_its_stated_objective(target: str, loss: DistanceForm) -> None:
    module = rival(target, 0.3, loss)
    train_only(module)
    fit(module)
    encoder, pruner = module.encoder
    images = toy_batch()["image"]
    gates = gates_by_hand(pruner.scores(encoder(images))).detach()  # no gradient through what opens them
    assert_descends(module, "encoder", lambda: task(module, encoder(images) * gates))
    assert_descends(
        module,
        "pruner",
        lambda: 0.7 * task(module, pruned(module)) - 0.3 * reconstruction(module, pruned(module), loss),
    )
    assert_descends(module, "decoder", lambda: reconstruction(module, pruned(module), loss))


def test_privacy_weighs_as_published_where_nothing_is_said(target: str) -> None:
    """By the mean squared error the pruner would hear little but the task: a weaker rival than published."""
    assert_published(Disco(target, SIDE, **SMALL).distance)


@pytest.mark.parametrize("lambda_", [0.2, 0.8])
def test_the_pruner_never_ascends_the_task(target: str, lambda_: float) -> None:
    """In the published code it does above λ = 0.5. A blind decoder leaves the task as the only term."""
    module = rival(target, lambda_)
    with torch.no_grad():
        module.decoder[0].weight.zero_()
    before = task(module.double(), pruned(module)).item()
    train_only(module, "pruner", learning_rate=1e-3)
    fit(module, batches=10)
    assert task(module, pruned(module)).item() < before


def test_the_adversary_alone_learns_to_reconstruct_and_the_pruner_alone_prevents_it(target: str) -> None:
    module = rival(target, lambda_=1.0)
    untrained = reconstruction(module.double(), pruned(module)).item()
    train_only(module, "decoder", learning_rate=0.01)
    fit(module, batches=120)
    trained = reconstruction(module, pruned(module)).item()
    assert trained < 0.8 * untrained
    train_only(module, "pruner", learning_rate=0.02)
    fit(module, batches=15)
    assert reconstruction(module, pruned(module)).item() > 1.02 * trained


@pytest.mark.parametrize("mover", ["encoder", "pruner", "decoder"])
def test_a_players_step_moves_that_player_alone(target: str, mover: str) -> None:
    module, untouched = rival(target), rival(target).double()
    train_only(module, mover)
    fit(module)
    for name, player in module.players().items():
        moved = encoder_hash(player) != encoder_hash(untouched.players()[name])
        assert moved == (name == mover), name
    assert encoder_hash(rival(target).double()) == encoder_hash(untouched), "the target's artifact stays"


def test_lambda_0_is_the_run_without_a_privacy_term(target: str) -> None:
    class NoPrivacy(Disco):
        def pruner_objective(self, batch: dict[str, Tensor]) -> Tensor:
            logits = self.head(self.encoder(batch["image"]))
            return F.binary_cross_entropy_with_logits(logits, batch["attributes"])

    module = rival(target, lambda_=0.0)
    torch.manual_seed(5)
    plain = NoPrivacy(target, SIDE, 0.7, "per_image", **SMALL)
    for trained in (module, plain):
        fit(trained, epochs=2, batches=3)
    assert encoder_hash(module) == encoder_hash(plain)


def test_about_the_asked_share_of_channels_is_closed() -> None:
    """Scores far apart give hard gates: below the threshold shut, above it open, half-way at it."""
    pruner = Pruner(5, ratio=0.7)
    pruner.scores = nn.Identity()
    gates = pruner.gates(torch.tensor([[4.0, 1.0, 5.0, 3.0, 2.0]])).flatten()
    torch.testing.assert_close(gates, torch.tensor([0.5, 0.0, 1.0, 0.0, 0.0]), atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="below 1"):
        Pruner(5, ratio=1.0)


@pytest.mark.filterwarnings("ignore:.* has no Jacobian rule")
def test_a_white_box_attacker_differentiates_through_the_pruner(target: str) -> None:
    """If the attacker's Jacobian left out how the gates move, Disco would look safer than it is."""
    defence = rival(target).double().eval()
    model = AttackerModel(defence.encoder, Generator1(6, SIDE, width=2).double().eval())
    z, v = torch.randn(2, 3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    steps = [model(z + sign * 1e-6 * v).features for sign in (1, -1)]
    slope = (steps[0] - steps[1]) / 2e-6
    torch.testing.assert_close(model(z).d_phi.jvp(v), slope, rtol=1e-5, atol=1e-7)
    u = torch.randn(slope.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close((model(z).d_phi.vjp(u) * v).sum(), (u * slope).sum(), rtol=1e-5, atol=1e-7)
    images = toy_batch()["image"]
    assert torch.equal(defence.protect(images, torch.Generator()), defence.encoder(images))


@pytest.mark.filterwarnings(*IGNORED)
def test_a_killed_run_ends_where_an_unbroken_one_ends(tmp_path: Path) -> None:
    init_args = {"target": toy_target(tmp_path, 17), "image_size": 32, **SMALL}
    model = {"class_path": "lightning_modules.Disco", "init_args": init_args}
    run = (model, {"fit_role": "private_train"}, {"max_epochs": 2})
    unbroken = fit_from_the_command_line(tmp_path / "unbroken", *run)
    assert_same_weights(unbroken, fit_from_the_command_line(tmp_path / "resumed", *run, killed_at=1))
    stored = TensorStore.open(tmp_path / "resumed" / "run" / "features").load("row", "features")
    assert stored["features"].shape == (4, CHANNELS, 8, 8)
