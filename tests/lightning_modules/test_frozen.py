"""Networks that learn from an encoder which belongs to somebody else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from pytorch_lightning import LightningModule
from torch import nn

from facecrafter.store import encoder_hash
from lightning_modules.artifacts import FeatureReader, load_artifact


class Encoding(LightningModule):
    """Stands for a target network; its batch norm is folded in what a reader holds."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2))


class Reader(FeatureReader):
    def __init__(self, encoder: str) -> None:
        super().__init__(encoder)
        self.weight = nn.Parameter(torch.ones(()))


def write(folder: Path, module: LightningModule, **init_args: str) -> str:
    folder.mkdir(exist_ok=True)
    config = {"class_path": f"{__name__}.{type(module).__name__}", "init_args": init_args}
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": config}))
    torch.save({"state_dict": module.state_dict()}, folder / "last.ckpt")
    return str(folder)


def test_the_checkpoint_names_the_encoder_as_stores_of_features_do(tmp_path: Path) -> None:
    """Otherwise a decoder could not be compared with the features that it is given."""
    target = Encoding()
    encoder = write(tmp_path / "target", target)
    reader = write(tmp_path / "reader", Reader(encoder), encoder=encoder)
    assert load_artifact(reader, Reader).encoder_hash == encoder_hash(target.encoder)


def test_a_checkpoint_is_refused_when_the_encoder_was_trained_again(tmp_path: Path) -> None:
    """A resumed training would go on with other features than it began with."""
    first, second = Encoding(), Encoding()
    encoder = write(tmp_path / "target", first)
    reader = write(tmp_path / "reader", Reader(encoder), encoder=encoder)
    write(tmp_path / "target", second)
    names = [encoder_hash(module.encoder)[:12] for module in (first, second)]
    with pytest.raises(ValueError, match=rf"encoder {names[0]}.*target now holds encoder {names[1]}"):
        load_artifact(reader, Reader)
