"""Weights of chosen epochs: those of that very epoch, and loadable as any artifact."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from artifact import QUIET
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from callbacks import EpochCheckpoints
from lightning_modules.artifacts import load_artifact


class Counter(LightningModule):
    """Its weight is the number of steps that it has taken."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return -self.weight

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 1.0)


class AtOnce(Counter):
    """Its weight is what the end of an epoch makes of it."""

    def on_train_epoch_end(self) -> None:
        self.weight.data.fill_(7.0)


def fit(
    folder: Path,
    epochs: list[int],
    max_epochs: int = 3,
    ckpt_path: Path | None = None,
    module: Counter | None = None,
) -> None:
    module = module or Counter()
    keep = EpochCheckpoints(epochs)
    options = {**QUIET, "enable_checkpointing": True}
    trainer = Trainer(
        max_epochs=max_epochs, accelerator="cpu", default_root_dir=folder, callbacks=[keep], **options
    )
    trainer.fit(module, DataLoader(torch.zeros(4, 1), batch_size=2), ckpt_path=ckpt_path, weights_only=True)
    trainer.save_checkpoint(folder / "last.ckpt")
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": {"class_path": f"{__name__}.Counter"}}))


def weight(path: Path) -> float:
    return load_artifact(path, Counter).weight.item()


def test_epochs_are_counted_by_what_is_finished(tmp_path: Path) -> None:
    """Two steps an epoch; epoch 0 is the start."""
    fit(tmp_path, [0, 2])
    assert weight(tmp_path / "epoch=0.ckpt") == 0
    assert weight(tmp_path / "epoch=2.ckpt") == 4
    assert weight(tmp_path) == weight(tmp_path / "last.ckpt") == 6
    assert {file.name for file in tmp_path.glob("*.ckpt")} == {"epoch=0.ckpt", "epoch=2.ckpt", "last.ckpt"}


def test_what_the_module_does_at_the_end_of_an_epoch_is_in_it(tmp_path: Path) -> None:
    """A linker solves there: written earlier, its weights were all zeros."""
    fit(tmp_path, [1], module=AtOnce())
    assert weight(tmp_path / "epoch=1.ckpt") == 7


def test_a_resumed_run_keeps_the_epochs_that_are_left(tmp_path: Path) -> None:
    fit(tmp_path, [0, 1], max_epochs=1)
    (tmp_path / "epoch=0.ckpt").unlink()
    fit(tmp_path, [0, 1, 3], ckpt_path=tmp_path / "last.ckpt")
    assert weight(tmp_path / "epoch=1.ckpt") == 2
    assert weight(tmp_path / "epoch=3.ckpt") == 6
    assert not (tmp_path / "epoch=0.ckpt").exists(), "what it went on from is not the start"


def test_weights_are_kept_without_the_optimizers_state(tmp_path: Path) -> None:
    fit(tmp_path, [1])
    kept = torch.load(tmp_path / "epoch=1.ckpt", weights_only=True)
    assert "state_dict" in kept
    assert "optimizer_states" not in kept


def test_an_epoch_beyond_the_last_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="epoch 5 is to be kept, but max_epochs is 3"):
        fit(tmp_path, [1, 5])
    assert not list(tmp_path.glob("*.ckpt"))


def test_by_default_nothing_is_kept(tmp_path: Path) -> None:
    fit(tmp_path, [])
    assert [file.name for file in tmp_path.glob("*.ckpt")] == ["last.ckpt"]
