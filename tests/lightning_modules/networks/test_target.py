"""The target network learns in the right direction, and refuses data that it does not fit."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import LightningDataModule, Trainer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from toy_vectors import Pooled, Tokens

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


def quiet(folder: Path, epochs: int) -> Trainer:
    return Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        check_val_every_n_epoch=epochs,
    )


def fit(module: TargetNetwork, folder: Path, epochs: int = 60) -> Trainer:
    data = DataLoader([batch()], batch_size=None)
    trainer = quiet(folder, epochs)
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


def test_weights_may_have_the_names_of_the_users_own_halves(tmp_path: Path) -> None:
    """Whoever trained both knows nothing of what stands between them here."""
    own, halves = ({"encoder": Tokens(), "head": Pooled()} for _ in range(2))
    torch.save(nn.ModuleDict(own).state_dict(), tmp_path / "weights.pt")
    found = TargetNetwork(3, **halves, weights=str(tmp_path / "weights.pt"))
    images = batch()["image"]
    torch.testing.assert_close(found(images), own["head"](own["encoder"](images)))


def test_far_features_are_sent_in_a_unit_once_they_are_learnt(tmp_path: Path) -> None:
    """Chosen before, it would be that of weights which training then left."""

    class Faces(LightningDataModule):
        attribute_names = ("a", "b", "c")

        def train_dataloader(self) -> DataLoader:
            return DataLoader(Face(), batch_size=12, collate_fn=lambda faces: batch())

    class Face(list):
        def __init__(self) -> None:
            super().__init__(range(12))

        def __getitems__(self, positions: list[int]) -> dict[str, Tensor]:
            return {name: value[positions] for name, value in batch().items()}

    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(3, 8, 5, stride=4), nn.Flatten(), L2())
    head = nn.Sequential(nn.Linear(8 * 49, 3))
    module = TargetNetwork(3, encoder=encoder, head=head, shift=0.0, learning_rate=1e-2)
    quiet(tmp_path, 2).fit(module, datamodule=Faces())
    assert module.state_dict()["encoder.to_map.unit"] == module.state_dict()["head.from_map.unit"] == 2**-4
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    again = TargetNetwork(
        3,
        encoder=nn.Sequential(nn.Conv2d(3, 8, 5, stride=4), nn.Flatten(), L2()),
        head=nn.Sequential(nn.Linear(8 * 49, 3)),
        weights=str(tmp_path / "weights.pt"),
    )
    assert torch.equal(again(batch()["image"]), module(batch()["image"]))


class L2(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x)


def test_half_a_network_or_an_unknown_one_is_refused() -> None:
    with pytest.raises(ValueError, match="head of your own"):
        TargetNetwork(3, encoder=nn.Conv2d(3, 8, 5))
    with pytest.raises(ValueError, match="vgg16"):
        TargetNetwork(3, arch="alexnet")
