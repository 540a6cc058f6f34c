"""The development scenario: f learns from protected features, and is judged on raw ones of strangers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer
from tiny_study import DATA
from torch.utils.data import DataLoader
from toy_rivals import (
    CHANNELS,
    IGNORED,
    N_ATTRIBUTES,
    QUIET,
    ToyEncoder,
    ToyHead,
    assert_same_weights,
    fit_from_the_command_line,
    toy_batch,
    toy_target,
)

from datamodules import CrowdsourcedFeatures, SyntheticFaces
from facecrafter.metrics.utility import mean_auc
from facecrafter.nets.target import ARCHITECTURES, SplitNetwork
from facecrafter.store import TensorStore, encoder_hash
from lightning_modules import HeadTraining, TargetNetwork


@pytest.fixture(autouse=True)
def small_head(monkeypatch: pytest.MonkeyPatch) -> None:
    def split(n_outputs: int) -> SplitNetwork:
        return SplitNetwork(ToyEncoder(), ToyHead(n_outputs))

    monkeypatch.setitem(ARCHITECTURES, "resnet18", split)


@pytest.fixture
def target(tmp_path: Path) -> str:
    return toy_target(tmp_path)


def batch(**extra: torch.Tensor) -> dict[str, torch.Tensor]:
    floats = {
        name: value.float() if value.is_floating_point() else value for name, value in toy_batch().items()
    }
    return floats | extra


def fit(
    module: HeadTraining, training: dict[str, Any], validation: dict[str, Any], epochs: int = 1
) -> Trainer:
    trainer = Trainer(max_epochs=epochs, accelerator="cpu", check_val_every_n_epoch=epochs, **QUIET)
    loaders = [DataLoader([data], batch_size=None) for data in (training, validation)]
    trainer.fit(module, *loaders)
    return trainer


def test_it_learns_from_the_protected_features_and_not_from_the_images(target: str) -> None:
    """Features that say the labels, images that say nothing: f reads the features alone."""
    labels = batch()["attributes"]
    features = torch.zeros(8, CHANNELS, 2, 2)
    features[:, :N_ATTRIBUTES] = labels[:, :, None, None]
    module = HeadTraining(target, N_ATTRIBUTES, learning_rate=0.3, weight_decay=0.0)
    before = encoder_hash(module.encoder.on(module.device))
    fit(module, batch(features=features, image=torch.zeros(8, 3, 8, 8)), batch(), epochs=80)
    assert ((module(features) > 0) == labels.bool()).all()
    assert encoder_hash(module.encoder.on(module.device)) == before
    assert all(name.startswith(("head.", "_extra_state")) for name in module.state_dict())


def test_auc_is_that_on_raw_features_of_the_validation_images(target: str) -> None:
    """Features that a validation batch may bring are not what the score is about."""
    module = HeadTraining(target, N_ATTRIBUTES)
    held_out = batch(features=torch.randn(8, CHANNELS, 2, 2))
    metrics = fit(module, batch(), held_out).callback_metrics
    raw = module.encoder.on(module.device)(held_out["image"])
    expected = mean_auc(module.eval()(raw), held_out["attributes"]).value
    assert metrics["val/auc"].item() == pytest.approx(expected)


def test_f_is_the_head_of_any_network_that_a_target_may_be(target: str) -> None:
    """Otherwise the scenario is closed to whoever brings a network."""
    torch.manual_seed(0)
    module = HeadTraining(target, 3, arch="torchvision/mobilenet_v3_small", split="features.3").eval()
    torch.manual_seed(0)
    expected = TargetNetwork(3, arch="torchvision/mobilenet_v3_small", split="features.3").eval()
    features = torch.rand(2, 24, 4, 4)
    torch.testing.assert_close(module(features), expected.head(features))


def test_an_unknown_architecture_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match="resnet18"):
        HeadTraining(target, 3, arch="alexnet")


def section(**init_args: Any) -> dict[str, Any]:
    return {"class_path": "lightning_modules.HeadTraining", "init_args": {"n_outputs": 17, **init_args}}


def protected(folder: Path, target: str, role: str = "private_train", limit: int | None = None) -> str:
    """A store of the noisy features of one role."""
    model = {"class_path": "lightning_modules.GaussianNoise", "init_args": {"target": target}}
    with pytest.raises(FileNotFoundError, match=r"last\.ckpt"):  # nothing to train, so no weights
        fit_from_the_command_line(folder, model, {"predict_role": role, "predict_limit": limit}, {})
    return str(folder / "run" / "features")


def crowdsourced(features: str) -> dict[str, Any]:
    return {
        "class_path": "datamodules.CrowdsourcedFeatures",
        "init_args": {"data": DATA, "features": features},
    }


@pytest.mark.filterwarnings(*IGNORED)
def test_a_killed_run_on_protected_features_ends_where_an_unbroken_one_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = toy_target(tmp_path, 17)
    data = crowdsourced(protected(tmp_path / "noise", target))
    run = (section(encoder=target), data, {"max_epochs": 2})
    unbroken = fit_from_the_command_line(tmp_path / "unbroken", *run)
    assert_same_weights(unbroken, fit_from_the_command_line(tmp_path / "resumed", *run, killed_at=1))
    with pytest.raises(SystemExit):
        fit_from_the_command_line(tmp_path / "labels", section(encoder=target, n_outputs=3), data, {})
    assert "the data has 17 attributes" in capsys.readouterr().err


@pytest.mark.filterwarnings(*IGNORED)
def test_features_of_others_or_of_another_encoder_are_refused(tmp_path: Path) -> None:
    target, other = toy_target(tmp_path, 17), toy_target(tmp_path / "other", 17, seed=3)
    data = crowdsourced(protected(tmp_path / "test", target, "private_test"))
    with pytest.raises(ValueError, match="predict_role: private_train"):
        fit_from_the_command_line(tmp_path / "wrong-role", section(encoder=target), data, {})
    data = crowdsourced(protected(tmp_path / "train", target))
    with pytest.raises(ValueError, match="made by encoder"):
        fit_from_the_command_line(tmp_path / "wrong-encoder", section(encoder=other), data, {})


@pytest.mark.filterwarnings(*IGNORED)
def test_the_head_of_another_network_is_refused(tmp_path: Path) -> None:
    """It would fail within a convolution, and nobody could tell that `arch` has to be the encoder's."""
    target = toy_target(tmp_path, 17)
    model = section(encoder=target, arch="resnet18_quarter")
    with pytest.raises(ValueError, match=rf"arch=resnet18_quarter reads no features .*in {target} makes"):
        fit_from_the_command_line(tmp_path / "other", model, {"batch_size": 2}, {})


@pytest.mark.filterwarnings(*IGNORED)
def test_users_may_contribute_some_of_their_images(tmp_path: Path) -> None:
    """What they keep to themselves is not trained with; a crowd smaller than a batch is refused by name."""
    features = protected(tmp_path / "noise", toy_target(tmp_path, 17), limit=5)
    data = SyntheticFaces(**DATA["init_args"] | {"batch_size": 4})
    crowd = CrowdsourcedFeatures(data, features)
    crowd.prepare_data()
    crowd.setup()
    assert len(crowd.train) == 5
    assert torch.isin(crowd.train.rows, data.faces("private_train").rows).all()
    data.batch_size = 6
    with pytest.raises(ValueError, match=r"batch_size 6 exceeds the 5 images in .*noise"):
        crowd.setup()


@pytest.mark.filterwarnings(*IGNORED)
def test_public_images_alone_are_the_naive_baseline(tmp_path: Path) -> None:
    data = {"fit_role": "public", "public_attribute": "Smiling", "batch_size": 2}
    weights = fit_from_the_command_line(
        tmp_path / "public", section(encoder=toy_target(tmp_path, 17)), data, {"max_epochs": 1}
    )
    assert set(weights) == {"_extra_state", "head.2.weight", "head.2.bias"}


@pytest.mark.filterwarnings(*IGNORED)
def test_the_union_takes_raw_features_of_public_images_and_protected_ones_of_users(tmp_path: Path) -> None:
    """The paper's comparison is f of X_pub ∪ X_pvt with f of X_pub; private images alone may lose to it."""
    target = toy_target(tmp_path, 17)
    features = protected(tmp_path / "noise", target)
    data = SyntheticFaces(**DATA["init_args"])
    union = CrowdsourcedFeatures(data, features, with_public=True)
    union.prepare_data()
    union.setup()
    public, crowd = data.faces("public"), data.faces("private_train")
    assert len(union.train) == len(public) + len(crowd)
    batch = union.train.__getitems__([len(public) + 3, 2, len(public) + 1, 0])
    assert batch["row"].tolist() == [public.rows[2], public.rows[0], crowd.rows[3], crowd.rows[1]]
    assert batch["protected"].tolist() == [False, False, True, True]

    head = HeadTraining(target, 17)
    read = head._features(batch)
    raw = head.encoder.on(torch.device("cpu"))(batch["image"])
    stored = TensorStore.open(features).load("row", "features")
    position = torch.searchsorted(stored["row"], batch["row"][2:])
    torch.testing.assert_close(read[:2], raw[:2])
    assert torch.equal(read[2:], stored["features"][position])
    assert not torch.equal(read[2:], raw[2:]), "the users' own images were read"
    assert CrowdsourcedFeatures(data, features).fingerprint() != union.fingerprint()
    assert "protected" not in union.train.__getitems__([0, 1])  # a batch of one kind


@pytest.mark.filterwarnings(*IGNORED)
def test_a_head_learns_from_the_union(tmp_path: Path) -> None:
    target = toy_target(tmp_path, 17)
    data = crowdsourced(protected(tmp_path / "noise", target))
    data["init_args"] |= {"with_public": True}
    weights = fit_from_the_command_line(tmp_path / "union", section(encoder=target), data, {"max_epochs": 1})
    assert weights["head.2.weight"].isfinite().all()
