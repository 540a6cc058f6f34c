"""`python -m experiments.study` from start to end, a second time, after a failure, and with mistakes."""

from __future__ import annotations

import copy
import csv
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from tiny_study import model, tiny_study, write

DEFENCES = Path(__file__).parents[1] / "external_defences"


def markers(study: Path) -> dict[str, str]:
    """The text of every done marker, by folder."""
    return {file.parent.name: file.read_text() for file in study.glob("artifacts/*/stage.json")}


@pytest.mark.slow
def test_a_study_runs_to_its_report_and_a_second_run_redoes_nothing(command: Command, tmp_path: Path) -> None:
    config, study = write(tiny_study(), tmp_path / "tiny.yaml"), tmp_path / "study"

    def run(*options: object) -> list[str]:
        result = command("study", "--config", config, "--output", study, *options, path=DEFENCES)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout.splitlines()

    assert "17 of 17 to do" in run("--dry-run")[-1]
    assert not study.exists()

    assert run()[-1] == str(study / "report.html")
    rows = list(csv.DictReader((study / "results.csv").open()))
    assert {(row["defence"], row["strength"]) for row in rows} == {
        ("none", ""),
        ("noise", "sigma=1.0"),
        ("mask", ""),
        ("blur", ""),
    }
    assert len(list(csv.DictReader((study / "summary.csv").open()))) == 4
    assert stat.S_IMODE((study / "splits.csv").stat().st_mode) == 0o600
    assert 'src="http' not in (study / "report.html").read_text()

    first = markers(study)
    assert not any(line.startswith("start") for line in run())
    assert markers(study) == first
    assert "0 of 17 to do" in run("--dry-run")[-1]

    redone = [
        line.split()[1] for line in run("--force", "noise.sigma=1.0.black_box") if line.startswith("start")
    ]
    assert redone == ["noise.sigma=1.0.black_box", "noise.sigma=1.0.black_box.measure"]


def test_a_failed_stage_shows_its_log_and_keeps_what_is_done(command: Command, tmp_path: Path) -> None:
    config = tiny_study()
    config["fits"]["target"]["model"]["init_args"]["weights"] = "/dev/null"
    result = command(
        "study",
        "--config",
        write(config, tmp_path / "c.yaml"),
        "--output",
        tmp_path / "study",
        "--only",
        "target",
        path=DEFENCES,
    )
    assert result.returncode == 1
    assert "FAILED target" in result.stdout
    assert "stage.log" in result.stdout
    assert [json.loads(text)["stage"] for text in markers(tmp_path / "study").values()] == ["data"]


def without_none(config: dict[str, Any]) -> None:
    del config["defences"]["none"]


def unknown_key(config: dict[str, Any]) -> None:
    config["atacks"] = {}


def unknown_reference(config: dict[str, Any]) -> None:
    config["attacks"]["black_box"]["networks"]["decoder"] = "${decodr}"


def circle(config: dict[str, Any]) -> None:
    config["fits"]["target"]["model"] = model("Decoder", encoder="${decoder}", image_size=32)


def wrong_argument(config: dict[str, Any]) -> None:
    config["defences"]["noise"]["strengths"] = {"sigmma": [1.0]}


def no_such_class(config: dict[str, Any]) -> None:
    config["fits"]["target"]["model"] = model("Targets")


def trainer_typo(config: dict[str, Any]) -> None:
    config["trainer"] = {"max_epoch": 1}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_none, "defences needs 'none'"),
        (unknown_key, "unknown key 'atacks'"),
        (unknown_reference, r"refers to '${decodr}'"),
        (circle, "circle"),
        (wrong_argument, "sigmma"),
        (no_such_class, "fits.target.model: cannot import 'lightning_modules.Targets'"),
        (trainer_typo, "no such argument 'max_epoch'"),
    ],
)
def test_a_mistake_is_named_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Any, message: str
) -> None:
    from experiments.study import parse, run

    monkeypatch.syspath_prepend(DEFENCES)
    config = copy.deepcopy(tiny_study())
    spoil(config)
    options = parse(
        ["--config", str(write(config, tmp_path / "c.yaml")), "--output", str(tmp_path / "study")]
    )
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the message is compared below, not as a pattern
        run(options)
    assert message in str(error.value)
    assert not (tmp_path / "study").exists()


def test_a_defence_that_replaces_the_encoder_gets_a_decoder_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise the attacker would decode with a network trained for another encoder, and look weak."""
    from experiments.plan import Plan
    from experiments.study_config import parse

    monkeypatch.syspath_prepend(DEFENCES)
    stages = Plan(parse(tiny_study(), "study")).stages
    assert stages["blur.black_box"].config["networks"] == {"decoder": "${blur.decoder}"}
    assert stages["blur.decoder"].config["model"]["init_args"]["encoder"] == "${blur}"
    assert stages["none.black_box"].config["networks"] == {"decoder": "${decoder}"}
