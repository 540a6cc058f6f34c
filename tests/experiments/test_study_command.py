"""`python -m experiments.study` from start to end, a second time, after a failure, and with mistakes."""

from __future__ import annotations

import copy
import csv
import json
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import Command
from private import open_to_others, usual_umask
from tiny_study import DATA, model, tiny_study, write

from experiments.study.__main__ import parse
from experiments.study.carry_out import run
from experiments.study.config import parse as parse_config
from experiments.study.data import prepare, refuse_constant
from experiments.study.plan import Plan

DEFENCES = Path(__file__).parents[1] / "external_defences"


def with_a_metric() -> dict[str, Any]:
    """The tiny study, which also measures a column of somebody's own."""
    return tiny_study() | {"measure": {"metrics": [{"class_path": "mean_error.MeanError"}]}}


def markers(study: Path) -> dict[str, str]:
    """The text of every done marker, by folder."""
    return {file.parent.name: file.read_text() for file in study.glob("artifacts/*/stage.json")}


@pytest.fixture(autouse=True)
def _somebodys_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny study's defence and attack can be imported, whichever test comes first."""
    monkeypatch.syspath_prepend(DEFENCES)
    monkeypatch.setenv("PYTHONPATH", str(DEFENCES), prepend=os.pathsep)


@pytest.fixture
def in_process(capfd: pytest.CaptureFixture[str]) -> Any:
    """The command in this process, which has imported everything; its stages are processes as ever."""

    def run_study(*line: object) -> tuple[int, list[str]]:
        code = run(**vars(parse(["--no-preflight", *map(str, line)])))
        return code, capfd.readouterr().out.splitlines()

    return run_study


@pytest.mark.slow
def test_a_study_runs_to_its_report_and_a_second_run_redoes_nothing(
    command: Command, in_process: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, cache = tmp_path / "study", tmp_path / "home" / ".cache"
    monkeypatch.setenv("FACECRAFTER_CACHE", str(cache))
    line = ("--config", write(with_a_metric(), tmp_path / "tiny.yaml"), "--output", study)

    assert "21 of 21 to do" in in_process(*line, "--dry-run")[1][-1]
    assert not study.exists()

    with usual_umask():
        result = command("study", "--no-preflight", *line, path=DEFENCES)
    assert result.returncode == 0, result.stdout + result.stderr
    assert not open_to_others(study), "faces, features, or networks that know people"
    assert list(cache.glob("*.npy"))
    assert not open_to_others(cache.parent)
    assert result.stdout.splitlines()[-1] == str(study / "report.html")
    rows = list(csv.DictReader((study / "results.csv").open()))
    points = {("none", ""), ("noise", "sigma=1.0"), ("mask", ""), ("blur", "")}
    assert {(row["defence"], row["strength"]) for row in rows} == points
    assert all(float(row["mean_error"]) > 0 for row in rows), "a metric from outside the package"
    assert len(list(csv.DictReader((study / "summary.csv").open()))) == 4
    page = (study / "report.html").read_text()
    assert 'src="http' not in page
    assert "mean error" in page, "under the title that it gives itself"

    first = markers(study)
    assert in_process(*line) == (0, [str(study / "report.html")])
    assert markers(study) == first
    assert "0 of 21 to do" in in_process(*line, "--dry-run")[1][-1]

    _, shown = in_process(*line, "--dry-run", "--only", "target", "--only", "mask")
    defences = {text.split(".")[0].split()[0] for text in shown} & {"target", "none", "noise", "mask", "blur"}
    assert defences == {"target", "mask"}, "all that is named, not the last alone"

    code, shown = in_process(*line, "--force", "noise.sigma=1.0.black_box")
    redone = [text.split()[1] for text in shown if text.startswith("start")]
    assert (code, redone) == (0, ["noise.sigma=1.0.black_box", "noise.sigma=1.0.black_box.measure"])


def test_a_failed_stage_shows_its_log_and_keeps_what_is_done(in_process: Any, tmp_path: Path) -> None:
    config, study = tiny_study(), tmp_path / "study"
    config["fits"]["target"]["model"]["init_args"]["weights"] = "/dev/null"
    line = ("--config", write(config, tmp_path / "c.yaml"), "--output", study, "--only", "target")
    code, shown = in_process(*line)
    assert code == 1
    assert any(text.startswith("FAILED target") for text in shown)
    assert any("stage.log" in text for text in shown)
    assert [json.loads(text)["stage"] for text in markers(study).values()] == ["data"]


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


def trial(config: dict[str, Any]) -> None:
    config["trainer"] = {**config["trainer"], "fast_dev_run": True}


def trainer_typo(config: dict[str, Any]) -> None:
    config["trainer"] = {"max_epoch": 1}


def outside(config: dict[str, Any]) -> None:
    logger = {"class_path": "CSVLogger", "init_args": {"save_dir": ".", "name": "../x"}}
    config["trainer"] = {**config["trainer"], "logger": logger}


def metric_typo(config: dict[str, Any]) -> None:
    config["measure"]["metrics"][0]["init_args"] = {"pwer": 2}


def no_attack(config: dict[str, Any]) -> None:
    config["attacks"]["black_box"]["class_path"] = "trained_mask.TrainedMask"


def no_metric(config: dict[str, Any]) -> None:
    config["measure"]["metrics"] = [model("trained_mask.TrainedMask", target="${target}")]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_none, "defences needs 'none'"),
        (unknown_key, "unknown key 'atacks'"),
        (unknown_reference, r"refers to '${decodr}'"),
        (circle, "circle"),
        (wrong_argument, "Option 'sigmma' is not accepted, perhaps 'sigma'; GaussianNoise takes "),
        (no_such_class, "fits.target.model: cannot import 'lightning_modules.Targets'"),
        (trainer_typo, "no such argument 'max_epoch'"),
        (trial, "fast_dev_run would protect some images"),
        (outside, "trainer.logger.init_args.name '../x' leads out of the output"),
        (metric_typo, "measure.metrics[0]: MeanError refuses its arguments"),
        (no_attack, "attacks.black_box: 'trained_mask.TrainedMask' is no attack"),
        (no_metric, "is no ImageMetric"),
    ],
)
def test_a_mistake_is_named_before_anything_runs(tmp_path: Path, spoil: Any, message: str) -> None:
    config = copy.deepcopy(with_a_metric())
    spoil(config)
    options = parse(
        ["--config", str(write(config, tmp_path / "c.yaml")), "--output", str(tmp_path / "study")]
    )
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the message is compared below, not as a pattern
        run(**vars(options))
    assert message in str(error.value)
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--jobs", "-1", "--jobs must be at least 1, not -1"),
        ("--jobs", "0", "--jobs must be at least 1, not 0"),
        ("--output", "c.yaml", "c.yaml is a file; choose another folder"),
        ("--artifacts", "c.yaml/artifacts", "c.yaml is a file; choose another folder"),
    ],
)
def test_a_line_that_cannot_be_carried_out_is_refused_before_anything_is_tried(
    tmp_path: Path, option: str, value: str, message: str
) -> None:
    """Without jobs a study waited for ever; a file as its output was refused when stages had been tried."""
    config = write(tiny_study(), tmp_path / "c.yaml")
    line = {"--config": config, "--output": tmp_path / "study"}
    line[option] = value if option == "--jobs" else tmp_path / value
    options = parse([str(part) for pair in line.items() for part in pair])
    with pytest.raises(ValueError, match=re.escape(message)):
        run(**vars(options))


def test_artifacts_that_are_not_there_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Misspelt, hours of what is kept elsewhere would be computed anew in silence."""
    config = write(tiny_study(), tmp_path / "c.yaml")
    (tmp_path / "phone" / "artifacts").mkdir(parents=True)
    misspelt = tmp_path / "phnoe" / "artifacts"
    run(config, tmp_path / "study", misspelt, dry_run=True, try_first=False)
    assert (
        f"{misspelt} is not there yet (did you mean 'phone'?): nothing that was kept is reused"
        in capsys.readouterr().out
    )
    run(config, tmp_path / "study", tmp_path / "phone" / "artifacts", dry_run=True, try_first=False)
    assert "not there yet" not in capsys.readouterr().out


def test_attributes_of_which_none_differs_are_refused_before_anything_is_trained() -> None:
    """Every stage was computed, and then the report had no utility to draw."""
    refuse_constant(prepare(DATA))
    faces = SimpleNamespace(attributes=torch.ones(5, 2, dtype=torch.uint8))
    constant = SimpleNamespace(faces=lambda role: faces, attribute_names=("face", "picture"))
    with pytest.raises(ValueError, match=r"attributes \(face, picture\) each is the same in every picture"):
        refuse_constant(constant)


def test_a_defence_that_replaces_the_encoder_gets_a_decoder_of_its_own() -> None:
    """Otherwise the attacker would decode with a network trained for another encoder, and look weak."""
    stages = Plan(parse_config(tiny_study(), "study")).stages
    assert stages["blur.black_box"].config["networks"] == {"decoder": "${blur.decoder}"}
    assert stages["blur.decoder"].config["model"]["init_args"]["encoder"] == "${blur}"
    assert stages["none.black_box"].config["networks"] == {"decoder": "${decoder}"}
