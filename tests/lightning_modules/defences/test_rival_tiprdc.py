"""TIPRDC: extractor, classifier and estimator each move the way they are stated to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from toy_rivals import (
    CHANNELS,
    IGNORED,
    N_PEOPLE,
    SIDE,
    assert_descends,
    assert_same_weights,
    fit,
    fit_from_the_command_line,
    shrink_rivals,
    toy_batch,
    toy_target,
    train_only,
)

from facecrafter.store import TensorStore, encoder_hash
from lightning_modules import Tiprdc


@pytest.fixture(autouse=True)
def small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_rivals(monkeypatch)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> str:
    return toy_target(tmp_path_factory.mktemp("networks"))


def rival(target: str, lambda_: float = 0.5, pretraining: int = 0, dropout: float = 0.0) -> Tiprdc:
    torch.manual_seed(5)
    module = Tiprdc(target, N_PEOPLE, SIDE, lambda_, pretraining, learning_rate=0.01)
    for layer in module.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = dropout  # 0 where finite differences need the same network twice
    return module


def cross_entropy(module: Tiprdc) -> Tensor:
    batch = toy_batch()
    log_probability = module.classifier(module.encoder(batch["image"])).log_softmax(dim=1)
    return -log_probability[torch.arange(8), batch["identity"]].mean()


def information(module: Tiprdc) -> Tensor:
    """I with x' image i + 1 for image i, and 0 for the last."""
    batch = toy_batch()
    features, others = module.encoder(batch["image"]), batch["image"][[1, 2, 3, 4, 5, 6, 7, 0]]
    joint = module.estimator(batch["image"], features, batch["identity"])
    apart = module.estimator(others, features, batch["identity"])
    return -torch.log(1 + torch.exp(-joint)).mean() - torch.log(1 + torch.exp(apart)).mean()


def test_each_players_gradient_is_that_of_its_stated_objective(target: str) -> None:
    module = rival(target, lambda_=0.3)
    train_only(module)
    fit(module)
    assert_descends(module, "extractor", lambda: -0.3 * cross_entropy(module) - 0.7 * information(module))
    assert_descends(module, "classifier", lambda: cross_entropy(module))
    assert_descends(module, "estimator", lambda: -information(module))
    assert module.noted["train/cross_entropy"], "nobody would be told whether its game settles"


def test_extractor_and_classifier_first_learn_the_identity_together(target: str) -> None:
    module, untouched = rival(target, pretraining=1), rival(target).double()
    train_only(module)
    fit(module)
    for player in ("extractor", "classifier"):
        assert_descends(module, player, lambda: cross_entropy(module))
    module = rival(target, pretraining=1)
    fit(module)
    assert encoder_hash(module.estimator) == encoder_hash(untouched.estimator)


def test_the_classifier_alone_learns_who_is_on_the_images(target: str) -> None:
    module = rival(target)
    before = cross_entropy(module.double()).item()
    train_only(module, "classifier", learning_rate=0.5)
    fit(module, batches=60)
    assert cross_entropy(module).item() < 0.9 * before


def test_the_estimator_alone_finds_more_information(target: str) -> None:
    module = rival(target)
    before = information(module.double()).item()
    train_only(module, "estimator", learning_rate=0.02)
    fit(module, batches=100)
    assert before + 0.2 < information(module).item() < 0


def test_the_extractor_alone_hides_who_is_on_the_images(target: str) -> None:
    module = rival(target, lambda_=1.0)
    train_only(module, "classifier", learning_rate=0.1)
    fit(module, batches=30)
    before = cross_entropy(module).item()
    train_only(module, "extractor")
    fit(module, batches=20)
    assert cross_entropy(module).item() > 1.1 * before


@pytest.mark.parametrize("mover", ["extractor", "classifier", "estimator"])
def test_a_players_step_moves_that_player_alone(target: str, mover: str) -> None:
    module, untouched = rival(target), rival(target).double()
    train_only(module, mover)
    fit(module)
    for name, player in module.players().items():
        moved = encoder_hash(player) != encoder_hash(untouched.players()[name])
        assert moved == (name == mover), name
    assert encoder_hash(module.head) == encoder_hash(untouched.head), "f is no player: it is trained later"
    assert encoder_hash(rival(target).double()) == encoder_hash(untouched), "the target's artifact stays"


def test_lambda_0_is_the_run_without_a_privacy_term(target: str) -> None:
    class NoPrivacy(Tiprdc):
        def extractor_objective(self, batch: dict[str, Tensor]) -> Tensor:
            features = self.encoder(batch["image"])
            joint = self.estimator(batch["image"], features, batch["identity"])
            apart = self.estimator(batch["image"].roll(-1, dims=0), features, batch["identity"])
            return F.softplus(-joint).mean() + F.softplus(apart).mean()

    module = rival(target, lambda_=0.0, dropout=0.5)
    torch.manual_seed(5)
    plain = NoPrivacy(target, N_PEOPLE, SIDE, 0.7, 0, learning_rate=0.01)
    for trained in (module, plain):
        fit(trained, epochs=2, batches=3)
    assert encoder_hash(module) == encoder_hash(plain)


def init_args(folder: Path, **changes: object) -> dict[str, object]:
    target = toy_target(folder, 17)
    return {"target": target, "n_identities": 4, "image_size": 32, "pretraining": 1} | changes


@pytest.mark.filterwarnings(*IGNORED)
def test_a_killed_run_ends_where_an_unbroken_one_ends(tmp_path: Path) -> None:
    """With dropout, whose random numbers no checkpoint holds."""
    model = {"class_path": "lightning_modules.Tiprdc", "init_args": init_args(tmp_path)}
    run = (model, {"fit_role": "private_train"}, {"max_epochs": 3})
    unbroken = fit_from_the_command_line(tmp_path / "unbroken", *run)
    assert_same_weights(unbroken, fit_from_the_command_line(tmp_path / "resumed", *run, killed_at=2))
    stored = TensorStore.open(tmp_path / "resumed" / "run" / "features").load("row", "features")
    assert stored["features"].shape == (4, CHANNELS, 8, 8)


@pytest.mark.parametrize(
    ("data", "changes", "message"),
    [
        ({"fit_role": "public"}, {"n_identities": None}, "fit_role to private_train"),
        ({"fit_role": "private_train"}, {"n_identities": 5}, "the data has 4 private people"),
    ],
)
@pytest.mark.filterwarnings(*IGNORED)
def test_people_that_it_could_not_hide_are_refused(
    tmp_path: Path,
    data: dict[str, str],
    changes: dict[str, int | None],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = {name: value for name, value in init_args(tmp_path, **changes).items() if value is not None}
    model = {"class_path": "lightning_modules.Tiprdc", "init_args": arguments}
    with pytest.raises((ValueError, SystemExit)) as refused:
        fit_from_the_command_line(tmp_path / "fit", model, data, {"max_epochs": 1})
    assert message in f"{refused.value} {capsys.readouterr().err}"
