"""What comparing features with photographs needs, of painted faces of 32 pixels: networks and stores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import yaml
from artifact import QUIET, artifact
from pytorch_lightning import Trainer

from datamodules import SyntheticFaces
from experiments import measure
from facecrafter.store import TensorStore, encoder_hash
from lightning_modules import Matcher, TargetNetwork
from lightning_modules.artifacts import load_artifact
from lightning_modules.defences.base import Undefended

SIZE = 32
MATCHER = {"image_size": SIZE, "directions": [16, 16]}


def faces(cache: Path, **init_args: Any) -> SyntheticFaces:
    """The data, ready to be measured."""
    data = SyntheticFaces(**init_args, image_size=SIZE, batch_size=64, cache_dir=str(cache))
    data.prepare_data()
    data.setup("test")
    return data


def fitted(folder: Path, cache: Path, **init_args: Any) -> Path:
    """A folder with a target network, no defence, and a matcher that learnt on public people."""
    public = SyntheticFaces(**init_args, image_size=SIZE, batch_size=64, cache_dir=str(cache))
    torch.manual_seed(0)
    network = {"n_outputs": public.sizes()["n_attributes"], "arch": "resnet18_quarter"}
    target = artifact(folder / "target", TargetNetwork(**network), **network)
    artifact(folder / "none", Undefended(target), target=target)
    matcher = Matcher(target, **MATCHER)
    Trainer(max_epochs=1, accelerator="cpu", **QUIET).fit(matcher, datamodule=public)
    artifact(folder / "matcher", matcher, encoder=target, **MATCHER)
    return folder


def write_features(
    folder: Path, data: SyntheticFaces, fits: Path, noise: float, role: str = "private_test", seed: int = 0
) -> None:
    """The features of the role's images under so much noise, in units of their standard deviation, drawn by
    the seed."""
    encoder, pictures = load_artifact(fits / "none", Undefended).encoder, data.faces(role)
    with torch.no_grad():
        features = encoder(pictures.images(range(len(pictures))))
    drawn = torch.randn(features.shape, generator=torch.Generator().manual_seed(seed))
    features = features + noise * features.std() * drawn
    meta = {"kind": "features", "dtype": "float32", "shape": list(features.shape[1:]), "batches": 1}
    store = TensorStore.create(folder, meta | {"encoder": encoder_hash(encoder)})
    store.write(0, row=pictures.rows, features=features)


def measured(
    folder: Path, fits: Path, cache: Path, init_args: dict[str, Any], **given: Any
) -> dict[str, Any]:
    """The row that `experiments.measure` writes below `folder` of the matcher in `fits`."""
    data = init_args | {"image_size": SIZE, "cache_dir": str(cache)}
    config = {
        "data": {"class_path": "datamodules.SyntheticFaces", "init_args": data},
        "defence": str(fits / "none"),
        "identifier": str(fits / "matcher"),
        "output": str(folder / "measure"),
        **given,
    }
    (folder / "measure.yaml").write_text(yaml.safe_dump(config))
    measure.main(["--config", str(folder / "measure.yaml")])
    (row,) = json.loads((folder / "measure" / "results.json").read_text())
    return row
