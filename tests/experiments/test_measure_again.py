"""Several queries for the same faces, put together as they are read: `experiments.measure` with `again`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
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

SIZE, NOISE = 32, 2.0
DATA = {"n_identities": 20, "images_per_identity": 8, "private_identities": 8, "image_size": SIZE}
MATCHER = {"image_size": SIZE, "directions": [16, 16]}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SyntheticFaces:
    faces = SyntheticFaces(**DATA, batch_size=64, cache_dir=str(tmp_path_factory.mktemp("cache")))
    faces.prepare_data()
    faces.setup("test")
    return faces


@pytest.fixture(scope="module")
def fits(data: SyntheticFaces, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of no defence, and of a matcher that learnt on public people."""
    folder = tmp_path_factory.mktemp("fits")
    torch.manual_seed(0)
    network = {"n_outputs": len(data.attribute_names), "arch": "resnet18_quarter"}
    target = artifact(folder / "target", TargetNetwork(**network), **network)
    artifact(folder / "none", Undefended(target), target=target)
    matcher = Matcher(target, **MATCHER)
    public = SyntheticFaces(**DATA, batch_size=64, cache_dir=str(data.cache_dir))
    Trainer(max_epochs=1, accelerator="cpu", **QUIET).fit(matcher, datamodule=public)
    artifact(folder / "matcher", matcher, encoder=target, **MATCHER)
    return folder


@pytest.fixture(scope="module")
def queries(data: SyntheticFaces, fits: Path) -> list[str]:
    """The features of the private-test images, each time under other noise."""
    encoder, test = load_artifact(fits / "none", Undefended).encoder, data.faces("private_test")
    with torch.no_grad():
        features = encoder(test.images(range(len(test))))
    meta = {"kind": "features", "dtype": "float32", "shape": list(features.shape[1:]), "batches": 1}
    for seed in range(4):
        drawn = torch.randn(features.shape, generator=torch.Generator().manual_seed(seed))
        store = TensorStore.create(fits / f"query{seed}", meta | {"encoder": encoder_hash(encoder)})
        store.write(0, row=test.rows, features=features + NOISE * features.std() * drawn)
    return [str(fits / f"query{seed}") for seed in range(4)]


@pytest.fixture
def named(data: SyntheticFaces, fits: Path, tmp_path: Path) -> Callable[..., float]:
    def run(first: str, *again: str) -> float:
        config = {
            "data": {
                "class_path": "datamodules.SyntheticFaces",
                "init_args": DATA | {"cache_dir": str(data.cache_dir)},
            },
            "defence": str(fits / "none"),
            "features": first,
            "again": list(again),
            "identifier": str(fits / "matcher"),
            "output": str(tmp_path / "measure"),
        }
        (tmp_path / "measure.yaml").write_text(yaml.safe_dump(config))
        measure.main(["--config", str(tmp_path / "measure.yaml")])
        (row,) = json.loads((tmp_path / "measure" / "results.json").read_text())
        return row["eval_acc"]

    return run


def test_several_queries_name_more_people_than_any_one_of_them(
    named: Callable[..., float], queries: list[str]
) -> None:
    """By one alone a defence that draws at random would look as safe as if nobody ever asked it twice."""
    alone = [named(query) for query in queries]
    assert named(*queries) > max(alone) + 0.1
