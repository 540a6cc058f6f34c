"""What the data knows need not be typed, and is checked where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_study import DATA, TRAINER, model, tiny_study

from datamodules import ProtectedPairs, SyntheticFaces
from experiments import fit
from experiments.study.config import parse
from experiments.study.derived import derived
from experiments.study.plan import Plan
from lightning_modules import (
    Decoder,
    FeatureIdentifier,
    IdentityClassifier,
    SurrogateClassifier,
    TargetNetwork,
    Tiprdc,
    Undefended,
)

pytestmark = pytest.mark.filterwarnings("ignore:LightningCLI's args parameter", "ignore:Checkpoint directory")

TYPED = ("image_size", "n_outputs", "n_identities")


def faces(**init_args: Any) -> SyntheticFaces:
    """Twelve people, of whom four are private, at 32 pixels."""
    return SyntheticFaces(**DATA["init_args"] | init_args)


@pytest.mark.parametrize(
    ("found", "given", "role", "expected"),
    [
        (IdentityClassifier, {}, "private_train", {"n_identities": 4}),
        (SurrogateClassifier, {}, "public", {"n_identities": 8}),
        (FeatureIdentifier, {}, "private_train", {"n_identities": 4}),
        (TargetNetwork, {}, "public", {"n_outputs": 17}),
        (TargetNetwork, {"loss": "identities"}, "public", {"loss": "identities", "n_outputs": 8}),
        (Tiprdc, {}, "private_train", {"n_identities": 4, "image_size": 32}),
        (Undefended, {"seed": 3}, "public", {"seed": 3}),
    ],
)
def test_a_module_is_given_what_its_data_knows(
    found: type, given: dict[str, Any], role: str, expected: dict[str, Any]
) -> None:
    assert derived(found, given, faces(fit_role=role), "here") == expected


def test_the_numbers_are_those_of_the_prepared_data() -> None:
    """Else a network would be planned for people who are not there."""
    data = faces()
    planned = data.sizes()
    data.prepare_data()
    data.setup()
    assert planned == {
        "image_size": data.image_size,
        "n_attributes": len(data.attribute_names),
        "n_private_identities": data.n_private_identities,
        "n_public_identities": data.n_public_identities,
    }


def test_data_that_wraps_others_knows_what_they_know() -> None:
    pairs = ProtectedPairs(faces(), "no/store/yet")
    assert derived(Decoder, {"encoder": "e"}, pairs, "here") == {"encoder": "e", "image_size": 32}


@pytest.mark.parametrize(
    ("found", "given", "role", "message"),
    [
        (
            IdentityClassifier,
            {"n_identities": 5},
            "private_train",
            r"fits\.classifier\.model\.init_args\.n_identities: 5 is given, .* has 4 private people",
        ),
        (TargetNetwork, {"n_outputs": 40}, "public", r"n_outputs: 40 .* 17 attributes; leave n_outputs out"),
        (Decoder, {"image_size": 64}, "public", r"image_size: 64 .* pictures of 32 pixels"),
    ],
)
def test_a_number_that_is_not_the_datas_is_refused(
    found: type, given: dict[str, Any], role: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        derived(found, given, faces(fit_role=role), "fits.classifier.model")


def test_a_class_may_mean_something_else_by_a_name() -> None:
    class Own:
        def __init__(self, n_outputs: int, people: int) -> None: ...

        @staticmethod
        def sizes_from_data(init_args: dict[str, Any]) -> dict[str, str]:
            return {"n_outputs": "n_public_identities", "people": "n_private_identities"}

    assert derived(Own, {}, faces(), "here") == {"n_outputs": 8, "people": 4}


def test_what_is_left_out_of_a_study_is_the_same_study() -> None:
    """Stages keep their keys, so nothing is computed twice."""
    study = tiny_study()
    study["defences"] = {"none": study["defences"]["none"]}
    typed = Plan(parse(study, "study")).stages
    for section in study["fits"].values():
        arguments = section["model"]["init_args"]
        section["model"]["init_args"] = {key: value for key, value in arguments.items() if key not in TYPED}
    left_out = Plan(parse(study, "study")).stages
    assert left_out["classifier"].config["model"]["init_args"]["n_identities"] == 4
    assert left_out == typed


def test_a_fit_writes_down_what_it_took_from_the_data(tmp_path: Path) -> None:
    """Its artifact is loaded without the data. A default of the class, here 64 pixels, gives way."""
    content = {
        "trainer": TRAINER,
        "model": model("Prior", latent_dim=8, width=4, critic_width=4),
        "data": DATA,
    }
    (tmp_path / "fit.yaml").write_text(yaml.safe_dump(content))
    fit.main(["--config", str(tmp_path / "fit.yaml"), "--output", str(tmp_path / "run")])
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert written["model"]["init_args"]["image_size"] == 32


def test_a_fit_refuses_a_number_that_is_not_the_datas(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = {"trainer": TRAINER, "model": model("TargetNetwork", n_outputs=40), "data": DATA}
    (tmp_path / "fit.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(SystemExit):
        fit.main(["--config", str(tmp_path / "fit.yaml"), "--output", str(tmp_path / "run")])
    assert "n_outputs: 40 is given, but the data has 17 attributes" in capsys.readouterr().err
