"""Identities read from features: `experiments.measure` with an identifier."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pytorch_lightning import LightningModule
from torch import nn

from datamodules import SyntheticFaces
from experiments import average, measure
from experiments.evaluation import utility
from facecrafter.metrics import mean_auc, wilson
from facecrafter.store import TensorStore, encoder_hash
from lightning_modules.attackers.identifier import FeatureIdentifier

SIZE = 32
DATA = {"n_identities": 12, "images_per_identity": 6, "private_identities": 5, "image_size": SIZE}


class Artifact(nn.Module):
    """What a fit left behind, with some networks."""

    def __init__(self, made_for: str = "", **networks: nn.Module) -> None:
        super().__init__()
        self.encoder_hash = made_for
        for name, network in networks.items():
            setattr(self, name, network)


class Reads(FeatureIdentifier):
    """An identifier whose network knew people before."""

    def __init__(self, made_for: str, network: nn.Module) -> None:
        LightningModule.__init__(self)
        self.encoder_hash, self.head = made_for, network


class KnowsByFeature(nn.Module):
    """Names the person of whom it has seen the nearest feature."""

    def __init__(self, features: torch.Tensor, identities: torch.Tensor) -> None:
        super().__init__()
        self.features, self.identities = features.flatten(1), identities

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        distances = torch.cdist(features.flatten(1), self.features)
        people = range(int(self.identities.max()) + 1)
        return torch.stack([-distances[:, self.identities == p].min(dim=1).values for p in people], dim=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SyntheticFaces:
    faces = SyntheticFaces(**DATA, cache_dir=str(tmp_path_factory.mktemp("cache")))
    faces.prepare_data()
    faces.setup("test")
    return faces


@pytest.fixture
def parts(data: SyntheticFaces, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    torch.manual_seed(0)
    encoder = nn.Conv2d(3, 2, 4, stride=4)
    head = nn.Sequential(nn.Flatten(), nn.Linear(2 * (SIZE // 4) ** 2, len(data.attribute_names)))
    test = data.faces("private_test")
    with torch.no_grad():
        known = encoder(test.images(range(len(test))))
    reader = Reads(encoder_hash(encoder), KnowsByFeature(known, test.identities))
    f = nn.Sequential(nn.Flatten(), nn.Linear(2 * (SIZE // 4) ** 2, len(data.attribute_names)))
    f.encoder_hash = encoder_hash(encoder)
    found = {"defence": Artifact(encoder=encoder, head=head), "identifier": reader, "head": f}
    for module in (measure, utility):
        monkeypatch.setattr(module, "load_artifact", lambda folder, expected: found[Path(folder).name])
    return found | {"features": known}


def write_features(
    folder: Path, data: SyntheticFaces, parts: dict[str, Any], noise: float, seed: int = 0
) -> None:
    """The features of the private-test images under so much noise."""
    test, features = data.faces("private_test"), parts["features"]
    features = features + noise * torch.randn(features.shape, generator=torch.Generator().manual_seed(seed))
    meta = {"dtype": "float32", "shape": list(features.shape[1:]), "batches": 2}
    meta |= {"kind": "features", "encoder": encoder_hash(parts["defence"].encoder)}
    store = TensorStore.create(folder, meta)
    for number, part in enumerate(torch.arange(len(test)).flip(0).tensor_split(2)):
        store.write(number, row=test.rows[part], features=features[part])


@pytest.fixture
def command(
    data: SyntheticFaces, parts: dict[str, Any], tmp_path: Path
) -> Callable[..., list[dict[str, Any]]]:
    def run(noise: float = 0.0, **changes: Any) -> list[dict[str, Any]]:
        write_features(tmp_path / f"noise{noise}" / "features", data, parts, noise)
        init_args = {**DATA, "cache_dir": str(data.cache_dir)}
        config = {
            "data": {"class_path": "datamodules.SyntheticFaces", "init_args": init_args},
            "defence": "defence",
            "features": str(tmp_path / f"noise{noise}" / "features"),
            "identifier": "identifier",
            "labels": {
                "defence": "noise",
                "attack": "exposure_features",
                "adaptive": "exposure",
                "access": "black",
            },
            "output": str(tmp_path / "measure"),
            **changes,
        }
        (tmp_path / "measure.yaml").write_text(yaml.safe_dump(config))
        measure.main(["--config", str(tmp_path / "measure.yaml")])
        return json.loads((tmp_path / "measure" / "results.json").read_text())

    return run


def test_undefended_features_are_read_as_clean_ones_are(command: Callable[..., list[dict[str, Any]]]) -> None:
    (row,) = command()
    assert row["eval_acc"] == row["clean_acc"] == row["top5"] == 1
    assert (row["oracle"], row["restart"], row["adaptive"]) == ("itself", "best", "exposure")
    assert row["seconds"] > 0


def test_what_noise_hides_is_not_read(
    command: Callable[..., list[dict[str, Any]]], data: SyntheticFaces
) -> None:
    (row,) = command(noise=2.0)
    assert row["eval_acc"] < 0.8
    assert row["clean_acc"] == 1
    count = round(row["eval_acc"] * row["n_images"])
    interval = wilson(count, row["n_images"])  # as if no two images were of one person
    assert row["eval_acc_lo"] <= interval.lo < interval.hi <= row["eval_acc_hi"] <= 1
    assert (row["n_images"], row["n_identities"]) == (len(data.faces("private_test")), 5)


def test_what_noise_hides_is_read_from_the_average_of_many_queries(
    command: Callable[..., list[dict[str, Any]]], data: SyntheticFaces, parts: dict[str, Any], tmp_path: Path
) -> None:
    """Beside the utility of what was released, which is that of one query."""
    (single,) = command(noise=2.0)
    queries = [tmp_path / "noise2.0" / "features", *(tmp_path / f"query{seed}" for seed in range(1, 40))]
    for seed, query in enumerate(queries[1:], start=1):
        write_features(query, data, parts, 2.0, seed)
    average.run(queries, tmp_path / "a3")
    (row,) = command(noise=2.0, averages=str(tmp_path / "a3" / "features"))
    assert row["eval_acc"] > single["eval_acc"] + 0.1
    assert row["auc"] == single["auc"]
    average.run(queries[1:], tmp_path / "others")
    with pytest.raises(ValueError, match=r"others/features was not made from .*noise2.0"):
        command(noise=2.0, averages=str(tmp_path / "others" / "features"))
    with pytest.raises(ValueError, match="averages are read by an identifier; name one"):
        command(noise=2.0, averages=str(tmp_path / "a3" / "features"), identifier=None)


def test_every_row_of_the_store_meets_its_own_identity(
    command: Callable[..., list[dict[str, Any]]], data: SyntheticFaces, tmp_path: Path
) -> None:
    (row,) = command(noise=2.0)
    file = tmp_path / "measure" / "per_image.csv"
    assert file.stat().st_mode & 0o777 == 0o600
    with file.open() as lines:
        table = list(csv.DictReader(lines))
    test = data.faces("private_test")
    assert [int(line["row"]) for line in table] == test.rows.tolist()
    assert [int(line["identity"]) for line in table] == test.identities.tolist()
    for name in ("correct", "top5"):
        share = sum(int(line[name]) for line in table) / len(table)
        assert share == pytest.approx(row["eval_acc" if name == "correct" else name])
    assert {line["oracle"] for line in table} == {"itself"}


def test_utility_is_that_of_the_same_features(
    command: Callable[..., list[dict[str, Any]]], data: SyntheticFaces, parts: dict[str, Any]
) -> None:
    (row,) = command()
    with torch.no_grad():
        scores = parts["defence"].head(parts["features"])
    attributes = data.faces("private_test").attributes
    assert row["auc"] == pytest.approx(mean_auc(scores, attributes).value, abs=1e-6)


def test_in_development_utility_is_that_of_f_on_raw_features_of_strangers(
    command: Callable[..., list[dict[str, Any]]], data: SyntheticFaces, parts: dict[str, Any]
) -> None:
    (row,) = command(head="head", noise=1.0)
    strangers = data.faces("public_val")
    with torch.no_grad():
        scores = parts["head"](parts["defence"].encoder(strangers.images(range(len(strangers)))))
    assert row["auc"] == pytest.approx(mean_auc(scores, strangers.attributes).value, abs=1e-6)
    assert row["eval_acc"] == command(noise=1.0)[0]["eval_acc"]
    parts["head"].encoder_hash = "0" * 64
    with pytest.raises(ValueError, match="head was trained for encoder 000000000000, but defence has"):
        command(head="head")


def test_an_identifier_of_another_encoder_is_refused(
    command: Callable[..., list[dict[str, Any]]], parts: dict[str, Any]
) -> None:
    """It would read nothing, and the defence would look safe."""
    parts["identifier"].encoder_hash = "0" * 64
    with pytest.raises(ValueError, match="identifier was trained for encoder 000000000000"):
        command()


def test_two_attacks_at_once_are_refused(command: Callable[..., list[dict[str, Any]]]) -> None:
    """One of them would be measured and the other silently left out."""
    with pytest.raises(ValueError, match="name reconstructions or an identifier, not both"):
        command(reconstructions="white_box")


def test_unknown_labels_and_other_faces_are_refused(command: Callable[..., list[dict[str, Any]]]) -> None:
    with pytest.raises(ValueError, match=r"labels \['colour'\] are no columns"):
        command(labels={"colour": "red"})
    other = {"class_path": "datamodules.SyntheticFaces", "init_args": {**DATA, "private_identities": 4}}
    with pytest.raises(ValueError, match="must hold each of the"):
        command(data=other)
    with pytest.raises(ValueError, match="must hold each of the"):
        command(data=other, head="head")


def test_help_explains(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        measure.main(["--help"])
    assert stop.value.code == 0
    assert "what reads identities from features" in " ".join(capsys.readouterr().out.split())
