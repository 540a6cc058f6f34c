"""What a fit takes for usual in a feature, and what of it a training that goes on keeps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from artifact import QUIET, artifact
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lightning_modules.attackers.decoder import Decoder, PairedDecoder
from lightning_modules.attackers.flow_decoder import FlowDecoder

SIZES = {"image_size": 16, "width": 16, "blocks": 1}
COUNT = 40


class Encoding(LightningModule):
    """Stands for a target network; of its channels the last `dead` are switched off."""

    def __init__(self, dead: int = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Conv2d(3, 12, 2, stride=2), nn.ReLU())
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(12 * 64, 3))
        with torch.no_grad():
            self.encoder[0].bias.copy_(torch.where(torch.arange(12) < 12 - dead, 2.0, -9.0))


class Faces(Dataset):
    """Pictures, and features where there are some."""

    def __init__(self, features: Tensor | None = None) -> None:
        images = torch.rand(COUNT, 3, 16, 16, generator=torch.Generator().manual_seed(1))
        self.content = {"image": images} | ({} if features is None else {"features": features})

    def __len__(self) -> int:
        return COUNT

    def __getitems__(self, positions: list[int]) -> dict[str, Tensor]:
        return {name: tensor[positions] for name, tensor in self.content.items()}


class Data(LightningDataModule):
    def __init__(self, features: Tensor | None = None) -> None:
        super().__init__()
        self.faces = Faces(features)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.faces, batch_size=20, collate_fn=lambda batch: batch)


def target(folder: Path, dead: int = 0) -> str:
    return artifact(folder, Encoding(dead), dead=dead)


def fitted(module: PairedDecoder, data: Data) -> PairedDecoder:
    Trainer(max_epochs=1, accelerator="cpu", **QUIET).fit(module, datamodule=data)
    return module.eval()


def raw(module: PairedDecoder) -> Tensor:
    with torch.no_grad():
        found: Tensor = module.encoder.on("cpu")(Faces().content["image"])
    return found


def withheld() -> Tensor:
    """A third of the channels of each image (N, C, 1, 1)."""
    order = torch.rand(COUNT, 12, generator=torch.Generator().manual_seed(2)).argsort(dim=1)
    return (order < 4)[:, :, None, None]


def dropped(features: Tensor) -> Tensor:
    """The features without these channels."""
    return features * ~withheld()


@pytest.mark.parametrize("kind", [Decoder, FlowDecoder])
def test_what_is_usual_is_learnt_from_the_encoders_raw_features(kind: type, tmp_path: Path) -> None:
    """Without it a decoder takes a withheld channel's zeros for a face, and channel dropout looks safe."""
    module = fitted(kind(target(tmp_path / "target", dead=2), **SIZES), Data())
    features = raw(module)
    torch.testing.assert_close(module.fill.mean, features.mean(dim=0))
    assert module.fill.absence.tolist() == [0.0] * 10 + [1.0] * 2
    filled = torch.where(withheld(), features.mean(dim=0), features)
    with torch.no_grad():
        torch.testing.assert_close(module(dropped(features)), module.shown(filled))
        torch.testing.assert_close(module(features), module.shown(features), rtol=0, atol=0)


def test_protected_pairs_alone_make_nothing_unusual_that_the_defence_often_does(tmp_path: Path) -> None:
    """Who learnt from zeros has to read zeros; filled, the features would be others than those it knows."""
    module = Decoder(target(tmp_path / "target"), **SIZES)
    features = dropped(raw(module))
    fitted(module, Data(features))
    assert torch.equal(module.fill(features), features)


@pytest.mark.parametrize("kind", [Decoder, FlowDecoder])
def test_a_start_keeps_what_raw_features_taught_it(kind: type, tmp_path: Path) -> None:
    """Adapting to a defence that withholds channels would otherwise unlearn which of them are."""
    encoder = target(tmp_path / "target")
    before = fitted(kind(encoder, **SIZES), Data())
    start = artifact(tmp_path / "start", before, encoder=encoder, **SIZES)
    after = kind(encoder, **SIZES, start=start)
    fitted(after, Data(dropped(raw(before))))
    torch.testing.assert_close(after.fill.state_dict(), before.fill.state_dict(), rtol=0, atol=0)


def test_a_start_of_another_encoder_is_not_believed(tmp_path: Path) -> None:
    """What the pruner of this one switches off would count as withheld, and be invented."""
    before = fitted(Decoder(target(tmp_path / "target"), **SIZES), Data())
    start = artifact(tmp_path / "start", before, encoder=str(tmp_path / "target"), **SIZES)
    pruned = target(tmp_path / "pruned", dead=3)
    after = Decoder(pruned, **SIZES, start=start)
    assert not after.fill.has_learnt
    fitted(after, Data(raw(after)))
    assert after.fill.absence.tolist() == [0.0] * 9 + [1.0] * 3


def test_layers_behind_the_split_are_read_as_they_are(tmp_path: Path) -> None:
    """A unit that f rarely leaves silent says the more where it is."""
    module = fitted(Decoder(target(tmp_path / "target"), **SIZES, layers={"logits": 1.0}), Data())
    assert not module.fill.has_learnt
