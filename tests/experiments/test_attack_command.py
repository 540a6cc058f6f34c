from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from experiments import attack
from experiments.errors import ends_in_sentences
from facecrafter.attacks import WhiteBox
from facecrafter.store import TensorStore, encoder_hash
from lightning_modules.artifacts import FeatureReader


class Artifact(nn.Module):
    """Stands for what a fit leaves behind."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


class Reader(FeatureReader):
    """A decoder trained on the features of `encoder`."""

    def __init__(self, encoder: nn.Module) -> None:
        LightningModule.__init__(self)
        self.encoder_hash, self.layers = encoder_hash(encoder), {}
        self.network = nn.Sequential(nn.Conv2d(5, 3, 1), nn.Sigmoid())


@pytest.fixture
def artifacts(monkeypatch: pytest.MonkeyPatch) -> dict[str, Artifact]:
    torch.manual_seed(0)
    networks = {
        "defence": Artifact(encoder=nn.Sequential(nn.Conv2d(3, 5, 3, padding=1))),
        "other": Artifact(encoder=nn.Sequential(nn.Conv2d(3, 5, 3, padding=1))),
        "prior": Artifact(network=nn.Sequential(nn.Linear(6, 48), nn.Unflatten(1, (3, 4, 4)), nn.Sigmoid())),
    }
    networks["decoder"] = Reader(networks["defence"].encoder)
    networks["other_decoder"] = Reader(networks["other"].encoder)
    monkeypatch.setattr(attack, "load_artifact", lambda folder, expected: networks[Path(folder).name].eval())
    return networks


@pytest.fixture
def features(artifacts: dict[str, Artifact], tmp_path: Path) -> TensorStore:
    encoder = artifacts["defence"].encoder
    meta = {"shape": [5, 4, 4], "dtype": "float32", "batches": 3, "encoder": encoder_hash(encoder)}
    store = TensorStore.create(tmp_path / "features", {"kind": "features", **meta})
    for number, rows in enumerate([[4, 9], [2, 11, 30], [7]]):
        images = torch.rand(len(rows), 3, 4, 4, generator=torch.Generator().manual_seed(number))
        store.write(number, row=torch.tensor(rows), features=encoder(images).detach())
    return store


def command(tmp_path: Path, output: str = "white_box", **changes: Any) -> TensorStore:
    """Runs the command over a YAML file and opens what it wrote."""
    config = {
        "features": str(tmp_path / "features"),
        "defence": str(tmp_path / "defence"),
        "attack": {
            "class_path": "facecrafter.attacks.WhiteBox",
            "init_args": {"iterations": 5, "restarts": 2, "precision": "32"},
        },
        "networks": {"prior": str(tmp_path / "prior")},
        "output": str(tmp_path / output),
        **changes,
    }
    file = tmp_path / f"{output}.yaml"
    file.write_text(yaml.safe_dump(config))
    attack.main(["--config", str(file)])
    return TensorStore.open(tmp_path / output)


def test_every_feature_is_reconstructed_as_by_the_attack_itself(
    artifacts: dict[str, Artifact], features: TensorStore, tmp_path: Path
) -> None:
    store = command(tmp_path)
    content = store.load("row", "images", "losses", "seconds")
    assert content["row"].tolist() == [2, 4, 7, 9, 11, 30]
    assert content["images"].shape == (6, 2, 3, 4, 4)
    assert (content["seconds"] > 0).all()
    white_box = WhiteBox(artifacts["defence"].encoder, artifacts["prior"].network, 5, 2, precision="32")
    direct = white_box.reconstruct(
        features.load("features")["features"], torch.Generator().manual_seed(0), rows=content["row"]
    )
    torch.testing.assert_close(content["images"], direct.images)
    torch.testing.assert_close(content["losses"], direct.losses)


def test_the_black_box_attack_runs_by_its_import_path(features: TensorStore, tmp_path: Path) -> None:
    spec = {"class_path": "facecrafter.attacks.BlackBox"}
    store = command(tmp_path, "black_box", attack=spec, networks={"decoder": str(tmp_path / "decoder")})
    assert store.load("images")["images"].shape == (6, 1, 3, 4, 4)


def test_an_attacker_who_knows_f_inverts_what_it_makes_of_the_features(
    artifacts: dict[str, Artifact], features: TensorStore, tmp_path: Path
) -> None:
    """Not the feature, whose noise f filters out: h(F) is compared with h(Enc(G(z)))."""
    defence, head = artifacts["defence"], nn.Sequential(nn.Conv2d(5, 4, 2), nn.ReLU(), nn.Conv2d(4, 2, 3))
    defence.head = head.eval()
    layers = {"1": 4.0, "logits": 1.0}
    store = command(tmp_path, layers=layers)
    assert store.meta["layers"] == layers
    content, read = store.load("images", "losses"), features.load("features")["features"]
    with torch.no_grad():
        images = content["images"].flatten(0, 1)
        mine, theirs = (read.repeat_interleave(2, dim=0), defence.encoder(images))
        distance = 4 * (head[:2](mine) - head[:2](theirs)).square().flatten(1).sum(dim=1)
        distance += (head(mine) - head(theirs)).square().flatten(1).sum(dim=1)
    torch.testing.assert_close(content["losses"].flatten(), distance, atol=1e-4, rtol=1e-3)


def test_a_network_that_reads_other_layers_is_refused(
    artifacts: dict[str, Artifact], features: TensorStore, tmp_path: Path
) -> None:
    """Maps of two layers may have one shape: it would show noise, and the defence would look safe."""
    artifacts["decoder"].layers = {"1": 1.0}
    spec = {"class_path": "facecrafter.attacks.BlackBox"}
    with pytest.raises(ValueError, match=r"trained for layers \{'1': 1.0\} of f, but the attack reads none"):
        command(tmp_path, "black_box", attack=spec, networks={"decoder": str(tmp_path / "decoder")})


def test_batch_size_does_not_change_results(features: TensorStore, tmp_path: Path) -> None:
    large, small = command(tmp_path), command(tmp_path, "small", batch_size=1)
    torch.testing.assert_close(large.load("images"), small.load("images"))


def test_a_killed_run_redoes_only_what_is_missing(
    features: TensorStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[int]] = []
    original = WhiteBox.reconstruct

    def counted(self: WhiteBox, *args: Any, **kwargs: Any) -> Any:
        rows: Tensor = args[3]
        calls.append(rows.tolist())
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    monkeypatch.setattr(WhiteBox, "reconstruct", counted)
    with pytest.raises(KeyboardInterrupt):
        command(tmp_path)
    assert TensorStore.open(tmp_path / "white_box").numbers() == {0}
    command(tmp_path)
    command(tmp_path)
    assert calls == [[4, 9], [2, 11, 30], [2, 11, 30], [7]]


def test_another_attack_does_not_continue_a_store(features: TensorStore, tmp_path: Path) -> None:
    command(tmp_path)
    with pytest.raises(ValueError, match=r"written for another run: seed is 0 there and 1 now"):
        command(tmp_path, seed=1)


def test_protected_again_means_attacked_again(features: TensorStore, tmp_path: Path) -> None:
    command(tmp_path)
    changed = features.read(2)
    features.write(2, **{**changed, "features": changed["features"] + 1})
    with pytest.raises(ValueError, match=r"written for another run: features is"):
        command(tmp_path)


def test_features_of_another_encoder_are_refused_naming_both(
    artifacts: dict[str, Artifact], features: TensorStore, tmp_path: Path
) -> None:
    hashes = [encoder_hash(artifacts[name].encoder)[:12] for name in ("defence", "other")]
    with pytest.raises(ValueError, match=rf"made by encoder {hashes[0]}.*other has encoder\s+{hashes[1]}"):
        command(tmp_path, defence=str(tmp_path / "other"))


def test_a_decoder_of_another_encoder_is_refused_naming_both(
    artifacts: dict[str, Artifact], features: TensorStore, tmp_path: Path
) -> None:
    """It would read the features wrongly, and the defence would look better than it is."""
    made, trained = (encoder_hash(artifacts[name].encoder)[:12] for name in ("defence", "other"))
    networks = {"decoder": str(tmp_path / "other_decoder")}
    with pytest.raises(ValueError, match=rf"encoder {made}.*other_decoder was trained for encoder {trained}"):
        command(tmp_path, attack={"class_path": "facecrafter.attacks.BlackBox"}, networks=networks)
    assert not (tmp_path / "white_box").exists()


def test_an_unfinished_store_of_features_is_refused(features: TensorStore, tmp_path: Path) -> None:
    features.file(1).unlink()
    with pytest.raises(ValueError, match=r"unfinished: batches \[1\]"):
        command(tmp_path)


class NoAttack:
    """Does something as soon as it is constructed."""

    def __init__(self, encoder: nn.Module, prior: nn.Module) -> None:
        raise SystemExit("constructed")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"attack": {"class_path": "facecrafter.attacks.Nothing"}},
            "cannot import 'facecrafter.attacks.Nothing",
        ),
        ({"attack": {"class_path": "Nothing"}}, "cannot import 'Nothing'"),
        (
            {"attack": {"class_path": "facecrafter.attacks.WhiteBox", "init_args": {"queries": 1}}},
            "does not take.*queries",
        ),
        ({"attack": {"class_path": f"{__name__}.NoAttack"}}, "NoAttack' is no attack"),
        ({"networks": {}}, "does not take.*prior"),
        (
            {"attack": {"class_path": "facecrafter.attacks.WhiteBox", "init_args": {"restart": 2}}},
            "does not take.*perhaps 'restarts'; WhiteBox takes ",
        ),
        ({"networks": {"prior": "other"}}, "no network to attack with"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused_before_work_starts(
    features: TensorStore, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        command(tmp_path, **changes)
    assert not (tmp_path / "white_box").exists()


def test_help_explains(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        attack.main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "store of features" in text
    assert "--batch_size" in text


def test_meta_says_what_was_done(features: TensorStore, tmp_path: Path) -> None:
    command(tmp_path)
    meta = json.loads((tmp_path / "white_box" / "meta.json").read_text())
    assert meta["attack"] == "facecrafter.attacks.WhiteBox"
    assert meta["encoder"] == features.meta["encoder"]
    assert str(tmp_path) not in json.dumps(meta)


def test_a_full_disk_costs_no_image_that_was_found(
    features: TensorStore, tmp_path: Path, small_disk: dict[str, Any]
) -> None:
    """Batches are on disk one by one; when there is room again the attack goes on behind the last of them."""
    whole = command(tmp_path, "whole")
    first = {"meta.json", "000000.safetensors"}
    small_disk["room"] = sum((whole.path / name).stat().st_size for name in first)
    line = ["--config", str(tmp_path / "whole.yaml"), f"--output={tmp_path / 'cut'}"]
    with pytest.raises(
        SystemExit, match=r"cut/000001\.safetensors: No space left on device; make room there"
    ):
        ends_in_sentences(attack.main)(line)
    assert {path.name for path in (tmp_path / "cut").iterdir()} == first
    kept = (tmp_path / "cut" / "000000.safetensors").read_bytes()
    small_disk["room"] = 10**12
    store = command(tmp_path, "cut")
    assert store.file(0).read_bytes() == kept, "it was not made anew, which would take other seconds"
    assert torch.equal(store.load("images")["images"], whole.load("images")["images"])
