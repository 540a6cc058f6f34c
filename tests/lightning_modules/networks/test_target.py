"""The target network learns in the right direction, and refuses data that it does not fit."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lightning_modules.networks.target import Loss, TargetNetwork


def batch(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "image": torch.rand(12, 3, 32, 32, generator=generator),
        "attributes": F.one_hot(torch.arange(12) % 3, 3).float(),
        "identity": torch.arange(12) % 3,
        "row": torch.arange(12),
    }


def small(loss: Loss = "attributes", **kwargs) -> TargetNetwork:
    torch.manual_seed(0)
    encoder = nn.Conv2d(3, 8, 5, stride=4)
    head = nn.Sequential(nn.Flatten(), nn.Linear(8 * 49, 3))
    return TargetNetwork(3, loss=loss, encoder=encoder, head=head, shift=0.0, learning_rate=1e-2, **kwargs)


def fit(module: TargetNetwork, folder: Path, epochs: int = 60) -> Trainer:
    data = DataLoader([batch()], batch_size=None)
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        check_val_every_n_epoch=epochs,
    )
    trainer.fit(module, data, data)
    return trainer


@pytest.mark.parametrize("loss", ["attributes", "classes", "identities"])
def test_one_batch_is_learnt(loss: Loss, tmp_path: Path) -> None:
    module = small(loss)
    fit(module, tmp_path)
    assert (module(batch()["image"]).argmax(1) == batch()["identity"]).all()


def test_mean_auc_is_reported(tmp_path: Path) -> None:
    metrics = fit(small(), tmp_path).callback_metrics
    assert metrics["val/auc"] == 1
    assert metrics["val/loss"] < 0.2


@pytest.mark.parametrize(
    ("loss", "names", "people", "message"),
    [
        ("attributes", ["a", "b"], 3, "2 attributes"),
        ("identities", ["a", "b", "c"], 5, "5 public identities"),
    ],
)
def test_other_labels_than_outputs_are_refused(
    loss: Loss, names: list[str], people: int, message: str
) -> None:
    module = small(loss)
    module._trainer = SimpleNamespace(
        datamodule=SimpleNamespace(attribute_names=names, n_public_identities=people)
    )
    with pytest.raises(ValueError, match=message):
        module.setup("fit")


def test_images_are_normalised_inside_an_architecture() -> None:
    module = TargetNetwork(4, arch="resnet18").eval()
    assert module(torch.rand(2, 3, 32, 32)).shape == (2, 4)
    assert not any("mean" in name and "running" not in name for name in module.state_dict())


def test_weights_start_the_network(tmp_path: Path) -> None:
    trained = small()
    torch.save(trained.state_dict(), tmp_path / "weights.pt")
    torch.manual_seed(1)
    other = TargetNetwork(
        3,
        encoder=nn.Conv2d(3, 8, 5, stride=4),
        head=nn.Sequential(nn.Flatten(), nn.Linear(8 * 49, 3)),
        weights=str(tmp_path / "weights.pt"),
    )
    torch.testing.assert_close(dict(other.state_dict()), dict(trained.state_dict()), rtol=0, atol=0)
    with pytest.raises(ValueError, match="does not fit"):
        TargetNetwork(3, weights=str(tmp_path / "weights.pt"))
    with pytest.raises(FileNotFoundError, match=r"none\.pt"):
        small(weights=str(tmp_path / "none.pt"))


def test_half_a_network_or_an_unknown_one_is_refused() -> None:
    with pytest.raises(ValueError, match="head of your own"):
        TargetNetwork(3, encoder=nn.Conv2d(3, 8, 5))
    with pytest.raises(ValueError, match="vgg16"):
        TargetNetwork(3, arch="alexnet")
