"""Artifacts of others are hostile until checked; of oneself, they must come back exactly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from pytorch_lightning import LightningModule

from lightning_modules import Defence, Prior, TargetNetwork
from lightning_modules.artifacts import load_artifact

SIZES = {"latent_dim": 8, "image_size": 32, "width": 4, "critic_width": 4}


def write(folder: Path, class_path: str = "lightning_modules.Prior", init_args: dict | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    model = {"class_path": class_path, "init_args": SIZES if init_args is None else init_args}
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": model}))
    return folder


def test_weights_come_back_frozen_and_in_eval_mode(tmp_path: Path) -> None:
    prior = Prior(**SIZES)
    torch.save({"state_dict": prior.state_dict()}, write(tmp_path) / "last.ckpt")
    loaded = load_artifact(tmp_path, Prior)
    z = torch.randn(2, 8)
    assert torch.equal(loaded.network(z), prior.eval().network(z))
    assert not loaded.training
    assert not any(weight.requires_grad for weight in loaded.parameters())


def test_another_kind_of_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="TargetNetwork"):
        load_artifact(write(tmp_path), TargetNetwork)


def test_a_class_that_is_no_module_is_refused(tmp_path: Path) -> None:
    """config.yaml names code; what it names must at least be what was asked for."""
    with pytest.raises(ValueError, match="Defence"):
        load_artifact(
            write(tmp_path, "subprocess.Popen", {"args": ["touch", str(tmp_path / "owned")]}), Defence
        )
    assert not (tmp_path / "owned").exists()


class Exploit:
    def __reduce__(self):
        return (exec, ("raise SystemExit('owned')",))


def test_a_checkpoint_with_code_in_it_is_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": Exploit()}, write(tmp_path) / "last.ckpt")
    with pytest.raises(ValueError, match="of which nothing was run"):
        load_artifact(tmp_path, Prior)


def test_weights_of_another_size_are_refused_naming_both_files(tmp_path: Path) -> None:
    torch.save(
        {"state_dict": Prior(**{**SIZES, "latent_dim": 9}).state_dict()}, write(tmp_path) / "last.ckpt"
    )
    with pytest.raises(ValueError, match=r"last\.ckpt does not fit .*config\.yaml"):
        load_artifact(tmp_path, Prior)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"config\.yaml"):
        load_artifact(tmp_path, Prior)
    with pytest.raises(FileNotFoundError, match=r"last\.ckpt is missing"):
        load_artifact(write(tmp_path), Prior)


def test_one_checkpoint_of_a_folder_stands_in_for_the_last(tmp_path: Path) -> None:
    priors = {name: Prior(**SIZES) for name in ("last", "epoch=10")}
    for name, prior in priors.items():
        torch.save({"state_dict": prior.state_dict()}, write(tmp_path) / f"{name}.ckpt")
    z = torch.randn(2, 8)
    for path, name in ((tmp_path, "last"), (tmp_path / "epoch=10.ckpt", "epoch=10")):
        assert torch.equal(load_artifact(path, Prior).network(z), priors[name].eval().network(z))
    with pytest.raises(FileNotFoundError, match=r"epoch=20\.ckpt is missing"):
        load_artifact(tmp_path / "epoch=20.ckpt", Prior)


def test_a_checkpoint_that_is_named_must_be_there_even_where_nothing_is_trained(tmp_path: Path) -> None:
    folder = write(tmp_path, "pytorch_lightning.LightningModule", {})
    load_artifact(folder, LightningModule)
    with pytest.raises(FileNotFoundError, match=r"epoch=1\.ckpt is missing"):
        load_artifact(folder / "epoch=1.ckpt", LightningModule)
