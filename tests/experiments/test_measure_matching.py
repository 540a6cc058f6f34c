"""Features compared with photographs: `experiments.measure` with a Matcher, on what fits leave behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from compared_features import faces, fitted, measured, write_features

from datamodules import SyntheticFaces
from facecrafter.metrics import fnir_at_fpir, identified, likelihood_ratios, tar_at_far
from facecrafter.metrics.matching import of_strangers
from facecrafter.store import TensorStore
from lightning_modules.artifacts import load_artifact
from lightning_modules.attackers.matcher import Matcher

# A hundred searches and a thousand pairs of others: 9 pictures of each of 12 people, and 9 to know them by.
DATA = {"n_identities": 30, "images_per_identity": 18, "private_identities": 12, "train_test_ratio": 1.0}
FIGURES = ("tar_at_far_1", "tar_at_far_01", "fnir_at_fpir_1")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SyntheticFaces:
    return faces(tmp_path_factory.mktemp("cache"), **DATA)


@pytest.fixture(scope="module")
def fits(data: SyntheticFaces, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted(tmp_path_factory.mktemp("fits"), data.cache_dir, **DATA)


@pytest.fixture
def command(data: SyntheticFaces, fits: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def run(noise: float, seed: int = 0, known: str | None = None) -> dict[str, Any]:
        write_features(tmp_path / f"noise{noise}", data, fits, noise)
        given = {"features": str(tmp_path / f"noise{noise}"), "seed": seed}
        if known:
            write_features(tmp_path / known, data, fits, noise, known)
            given["known"] = str(tmp_path / known)
        return measured(tmp_path, fits, data.cache_dir, DATA, **given)

    return run


def test_a_comparison_is_told_in_the_open_set_figures_of_judges(
    command: Callable[..., dict[str, Any]], data: SyntheticFaces, fits: Path, tmp_path: Path
) -> None:
    """Without them a privacy team would read of the strongest attack only whom it names among known people.
    They are of ratios: by bare densities, which are high for all people where a picture is a usual one, less
    than half as many would be verified."""
    row = command(1.0, seed=3)
    matcher = load_artifact(fits / "matcher", Matcher)
    known, test = data.faces("private_train"), data.faces("private_test")
    with torch.no_grad():
        photographs = matcher.coordinates(
            matcher.encoder.on(torch.device("cpu"))(known.images(range(len(known))))
        )
        sent = matcher.coordinates(TensorStore.open(tmp_path / "noise1.0").load("features")["features"])
        densities = matcher.scores(sent, photographs, known.identities)
    strangers = of_strangers(matcher.people, matcher.channel, sent)
    ratios, first = (
        likelihood_ratios(densities, strangers, test.identities),
        identified(densities, test.identities),
    )
    expected = {
        "tar_at_far_1": tar_at_far(ratios, test.identities, 0.01, seed=3),
        "tar_at_far_01": tar_at_far(ratios, test.identities, 0.001, seed=3),
        "fnir_at_fpir_1": fnir_at_fpir(ratios, test.identities, 0.01, seed=3, first=first),
    }
    for name, interval in expected.items():
        found = [row[f"{name}{bound}"] for bound in ("", "_lo", "_hi")]
        assert found == pytest.approx(list(interval), abs=1e-9), name
    assert tar_at_far(densities, test.identities, 0.01).value < row["tar_at_far_1"] / 2
    told = {
        column["name"]: column for column in json.loads((tmp_path / "measure" / "columns.json").read_text())
    }
    for name in FIGURES:
        assert "features, where these are compared with photographs" in told[name]["describe"]
        assert told[name]["interval"]


def test_noise_is_seen_in_each_figure(command: Callable[..., dict[str, Any]]) -> None:
    """Else a threshold, or a direction, is wrong; and no search finds more people than are named first."""
    plain, noisy = command(0.0), command(6.0)
    for name in ("tar_at_far_1", "tar_at_far_01"):
        assert noisy[name] < plain[name] - 0.1
    assert noisy["fnir_at_fpir_1"] > plain["fnir_at_fpir_1"] + 0.1
    for row in (plain, noisy):
        assert row["tar_at_far_01"] <= row["tar_at_far_1"]
        assert row["fnir_at_fpir_1"] >= 1 - row["eval_acc"] - 1e-9
        assert all(row[f"{name}_lo"] <= row[name] <= row[f"{name}_hi"] for name in FIGURES)


def test_photographs_may_have_been_protected_too(command: Callable[..., dict[str, Any]]) -> None:
    """Undefended they are the same photographs, whoever encodes them; where noise is added to them as well,
    less is known of everybody. Read as raw ones, nothing would change."""
    same = command(0.0, known="private_train")
    assert same["eval_acc"] == pytest.approx(command(0.0)["eval_acc"])
    assert command(3.0, known="private_train")["eval_acc"] != command(3.0)["eval_acc"]


def test_protected_photographs_are_of_those_who_may_be_known(
    command: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """With the very pictures that were released everybody would be named, and it would pass for a leak."""
    with pytest.raises((ValueError, SystemExit), match="none of the pictures asked for"):
        command(0.0, known="private_test")
