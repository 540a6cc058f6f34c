"""Fawkes and LowKey as defences, and the surrogates that they mislead."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from toy_rivals import IGNORED, artifact, fit_from_the_command_line, toy_target

from facecrafter.image_space import MODES, FeatureDistance, Mode
from facecrafter.store import encoder_hash
from lightning_modules import Defence, Fawkes, IdentityClassifier, LowKey, SurrogateClassifier


class ToyIdentityNet(nn.Module):
    """Takes the place of IdentityNet."""

    def __init__(self, n_identities: int, trunk: str = "") -> None:
        super().__init__()
        convolution = nn.Conv2d(3, 6, 5, stride=3)
        self.hidden = nn.Sequential(convolution, nn.Softplus(), nn.Flatten(), nn.Linear(600, 8))
        self.classifier = nn.Linear(8, n_identities)

    def embed(self, images: Tensor) -> Tensor:
        return self.hidden(images)


@pytest.fixture(autouse=True)
def small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_modules.networks.oracle.IdentityNet", ToyIdentityNet)
    monkeypatch.setitem(MODES, "mid", Mode(threshold=0.012, steps=20, learning_rate=20.0, embeddings=2))
    monkeypatch.setitem(MODES, "low", Mode(threshold=0.004, steps=6, learning_rate=25.0, embeddings=1))


@pytest.fixture
def target(tmp_path: Path) -> str:
    return toy_target(tmp_path)


@pytest.fixture
def surrogates(tmp_path: Path) -> list[str]:
    return [identity(tmp_path / f"surrogate-{seed}", SurrogateClassifier, seed) for seed in (1, 2)]


def identity(folder: Path, kind: type[IdentityClassifier], seed: int) -> str:
    torch.manual_seed(seed)
    arguments = {"n_identities": 3}
    return artifact(folder, kind(**arguments), **arguments)


def batch() -> dict:
    images = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return {"number": 0, "row": torch.arange(2), "image": nn.functional.interpolate(images, 32)}


def protect(defence: Defence) -> tuple[Tensor, list[dict[str, float]]]:
    heard: list[dict[str, float]] = []
    defence.listeners.append(heard.append)
    before = encoder_hash(defence)
    with torch.no_grad():  # as Lightning predicts
        features = defence.predict_step(batch(), 0)["features"]
    assert encoder_hash(defence) == before, "nothing is trained"
    return features, heard


def test_each_mode_misleads_its_number_of_surrogates(target: str, surrogates: list[str]) -> None:
    for mode, number in (("low", 1), ("mid", 2)):
        defence = Fawkes(target, mode, surrogates)
        assert len(defence.surrogates) == number
        features, heard = protect(defence)
        assert not torch.equal(features, defence.encoder(batch()["image"]))
        steps = MODES[mode].steps
        assert heard == [{"iteration": done, "iterations": steps} for done in range(1, steps + 1)]
    with pytest.raises(ValueError, match="2 surrogates in mode mid"):
        Fawkes(target, "mid", surrogates[:1])


def test_lowkey_uses_its_surrogates_and_the_stand_in_for_lpips(target: str, surrogates: list[str]) -> None:
    defence = LowKey(target, iterations=4, surrogates=surrogates)
    assert isinstance(defence.perceptual, FeatureDistance)
    features, heard = protect(defence)
    assert not torch.equal(features, defence.encoder(batch()["image"]))
    assert [row["iteration"] for row in heard] == [1, 2, 3, 4]
    with pytest.raises(ValueError, match="iterations"):
        LowKey(target, iterations=0, surrogates=surrogates)
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        LowKey(target, surrogates=surrogates, lpips_weights="none.pth")


def test_the_variant_against_enc_moves_its_features_further(target: str, surrogates: list[str]) -> None:
    raw = Fawkes(target).encoder(batch()["image"])
    pairs = [
        (Fawkes(target, "mid"), Fawkes(target, "mid", surrogates)),
        (LowKey(target, 6), LowKey(target, 6, surrogates)),
    ]
    for against_enc, against_surrogates in pairs:
        moved, less = ((protect(d)[0] - raw).square().sum() for d in (against_enc, against_surrogates))
        assert moved > less
    with pytest.raises(ValueError, match="Enc itself"):
        LowKey(target, lpips_weights="alexnet.pth")


def test_the_judge_is_refused_as_a_surrogate(target: str, surrogates: list[str], tmp_path: Path) -> None:
    """Images built to mislead the judge would look safe, whatever a face recogniser sees in them."""
    judge = identity(tmp_path / "judge", IdentityClassifier, 3)
    for defence in (Fawkes, LowKey):
        with pytest.raises(ValueError, match="judges"):
            defence(target, surrogates=[surrogates[0], judge])


@pytest.mark.parametrize(
    ("data", "given", "message"),
    [
        ({"fit_role": "private_train"}, {}, "fit_role to public"),
        ({}, {"n_identities": 4}, "the data has 8 public people"),
        ({}, {"n_identities": 8}, None),
    ],
)
@pytest.mark.filterwarnings(*IGNORED)
def test_a_surrogate_learns_public_people(
    tmp_path: Path,
    data: dict[str, str],
    given: dict[str, int],
    message: str | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = {"class_path": "lightning_modules.SurrogateClassifier", "init_args": given}
    run = (tmp_path / "fit", model, data, {"max_epochs": 1})
    if message is None:
        assert "network.classifier.weight" in fit_from_the_command_line(*run)
        return
    with pytest.raises((ValueError, SystemExit)) as refused:
        fit_from_the_command_line(*run)
    assert message in f"{refused.value} {capsys.readouterr().err}"
