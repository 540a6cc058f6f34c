"""Every kind of stage is tried before a study starts, and all that is wrong is said at once."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_study import model, tiny_study, write

from experiments.study.__main__ import parse
from experiments.study.artifacts import Artifacts
from experiments.study.carry_out import run
from experiments.study.config import load
from experiments.study.config import parse as parse_config
from experiments.study.keys import Stage, ancestors, keys
from experiments.study.plan import Plan
from experiments.study.preflight.causes import cause, remedy
from experiments.study.preflight.checks import _repeats
from experiments.study.preflight.estimates import Estimates
from experiments.study.preflight.stopwatch import FILE
from experiments.study.preflight.trials import Trial, representatives, trial
from facecrafter.files import write_whole

ROOT = Path(__file__).parents[2]
DEFENCES = ROOT / "tests" / "external_defences"


@pytest.fixture
def defences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DEFENCES)
    monkeypatch.setenv("PYTHONPATH", str(DEFENCES), prepend=":")


def broken_study() -> dict[str, Any]:
    """A defence that fails, one whose features do not fit, an attack whose images do not."""
    study = tiny_study()
    study["defences"] = {
        "none": {"model": model("Undefended", target="${target}")},
        "in_place": {
            "model": model("broken.InPlace", target="${target}"),
            "strengths": {"sigma": [1.0, 2.0]},
        },
        "halved": {"model": model("broken.Halved", target="${target}")},
    }
    study["attacks"]["loud"] = {
        "class_path": "broken.Loud",
        "networks": {"decoder": "${decoder}"},
        "against": ["none"],
    }
    return study


@pytest.mark.slow
def test_all_that_would_fail_is_said_at_once(
    defences: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study"
    options = parse(["--config", str(write(broken_study(), tmp_path / "c.yaml")), "--output", str(study)])
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the message is compared below
        run(**vars(options))
    told = str(error.value).splitlines()
    (in_place,) = [number for number, line in enumerate(told) if line.startswith("  in_place.sigma=1.0:")]
    assert "modified by an inplace operation" in told[in_place]
    assert "remedy" in told[in_place + 1]
    assert any(line.startswith("  halved: protect returns features") for line in told)
    assert any(line.startswith("  none.loud: its reconstructions reach") for line in told)
    assert (study / "preflight" / "in_place.sigma=1.0.log").is_file()
    assert not (study / "artifacts").exists(), "nothing was begun"


@pytest.mark.slow
def test_a_trial_says_what_a_study_costs_and_is_not_repeated(
    defences: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study"
    study.mkdir()
    config = str(write(tiny_study(), tmp_path / "c.yaml"))
    line = ["--config", config, "--output", str(study), "--only", "noise"]
    assert run(**vars(parse([*line, "--dry-run"]))) == 0
    shown = capsys.readouterr().out
    assert "unknown" not in shown
    assert "?" not in shown
    assert list(study.iterdir()) == [study / "preflight.json"]
    assert run(**vars(parse(line))) == 0
    assert "preflight" not in capsys.readouterr().out, "it was tried a moment ago"


def test_an_encoder_whose_features_are_no_map_is_refused_with_the_reason(
    defences: None, tmp_path: Path
) -> None:
    """No attack could read them: without a trial the first would fail after all trainings."""
    study = tiny_study()
    own = {"encoder": "toy_vectors.ClassToken", "head": "toy_vectors.Pooled"}
    parts = {name: {"class_path": path} for name, path in own.items()}
    study["fits"]["target"]["model"] = model("TargetNetwork", **parts)
    config = str(write(study, tmp_path / "c.yaml"))
    output = tmp_path / "study"
    with pytest.raises(ValueError, match=r"target: .*gives 17 tokens, which are no square map: some"):
        run(**vars(parse(["--config", config, "--output", str(output), "--only", "target"])))
    assert not (output / "artifacts").exists(), "nothing was begun"


def test_a_defence_that_draws_elsewhere_than_from_its_generator_is_told() -> None:
    """A run that goes on after a kill would give other features, and nobody would know."""
    images = torch.rand(2, 3, 4, 4)
    drawn = SimpleNamespace(protect=lambda images, rng: images + torch.randn(images.shape, generator=rng))
    assert list(_repeats(drawn, images)) == []
    anywhere = SimpleNamespace(protect=lambda images, rng: images + torch.randn_like(images))
    assert "from its argument rng" in next(_repeats(anywhere, images))
    assert "protect fails on two pictures: TypeError" in next(_repeats(SimpleNamespace(protect=len), images))


def test_a_defence_is_tried_at_one_of_its_strengths() -> None:
    plan = Plan(load(ROOT / "experiments" / "configs" / "painted.yaml"))
    same = representatives(plan, plan.stages)
    assert same["crafter.beta=8"] == same["crafter.beta=0.1"] == "crafter.beta=0.1"
    measured = [same[f"crafter.beta={beta}.white_box.measure"] for beta in (0.1, 8)]
    assert measured == ["none.white_box.measure"] * 2
    assert same["none.white_box"] == "none.white_box", "another encoder for all that is known"
    some = ancestors(plan.stages, ["crafter.beta=8"])
    assert representatives(plan, some)["crafter.beta=8"] == "crafter.beta=8", "what was asked for"


def test_what_reads_features_is_tried_once_for_every_encoder(defences: None) -> None:
    """Tried for each defence, the comparison of all rivals spends ten minutes before its first stage; tried
    once for one with an encoder of its own, or of somebody else's, mistakes are found after hours."""
    study = tiny_study()
    study["defences"] = {
        "none": study["defences"]["none"],
        "noise": {"model": model("GaussianNoise", target="${target}", sigma=1.0)},
        "fitted": {"model": model("GaussianNoise", target="${target}", sigma=2.0), "replaces": "target"},
        "foreign": {"model": model("broken.Halved", target="${target}"), "strengths": {"seed": [0, 1]}},
    }
    study["attacks"]["slow"] = {**study["attacks"]["black_box"], "class_path": "broken.Loud"}
    plan = Plan(parse_config(study, "tiny"))
    same = representatives(plan, plan.stages)
    for stage in ("black_box", "black_box.measure", "answers"):
        assert same[f"noise.{stage}"] == f"none.{stage}"
        assert same[f"fitted.{stage}"] == f"fitted.{stage}"
        assert same[f"foreign.seed=0.{stage}"] == f"foreign.seed=0.{stage}"
        assert same[f"foreign.seed=1.{stage}"] == f"foreign.seed=0.{stage}", "of a defence's strengths one"
    assert same["noise"] == "noise", "every defence protects a few pictures itself"
    assert same["none.slow"] == "none.slow", "every attack is tried"
    assert same["none.slow.measure"] == "none.black_box.measure", "images are measured alike"


def test_trials_cut_loops_and_leave_the_study_alone() -> None:
    plan = Plan(load(ROOT / "experiments" / "configs" / "painted.yaml"))
    before = keys(plan.stages, plan.data.fingerprint)
    found = {name: trial(stage, 100, Path("cache")) for name, stage in plan.stages.items()}
    assert keys(plan.stages, plan.data.fingerprint) == before

    prior = found["prior"].stage.config
    full = plan.stages["prior"].config
    turn, epochs = full["model"]["init_args"]["adversary_from"], full["trainer"]["max_epochs"]
    assert prior["model"]["init_args"]["adversary_from"] == 1
    assert prior["trainer"]["max_epochs"] == 2, "one epoch without the critic, and one with it"
    assert found["prior"].phases == [turn, epochs - turn]
    assert prior["trainer"]["logger"] is False
    assert prior["data"]["class_path"] == "datamodules.sample.SampleFaces"
    crafter = found["crafter.beta=0.1"]
    assert crafter.stage.config["model"]["init_args"]["iterations"] == 2
    iterations = plan.stages["crafter.beta=0.1"].config["model"]["init_args"]["iterations"]
    assert crafter.work == pytest.approx(iterations / 2)
    attack = plan.stages["none.white_box"].config["attack"]["init_args"]
    expected = attack["iterations"] / 2 * attack["restarts"] / min(attack["restarts"], 2)
    assert found["none.white_box"].work == pytest.approx(expected)


def test_seconds_are_those_of_all_epochs_batches_and_iterations(tmp_path: Path) -> None:
    """By hand: a start of 5 s, 2 and 3 epochs of two kinds with 10 batches each, and 40 images protected."""
    study = parse_config(tiny_study() | {"defences": {"none": {"model": model("Undefended")}}}, "tiny")
    data = {**study.data, "init_args": {**study.data["init_args"], "images_per_identity": 10}}
    sample = {
        "class_path": "datamodules.sample.SampleFaces",
        "init_args": {"data": data, "pictures": 4, "cache_dir": str(tmp_path)},
    }
    config = {
        "trainer": {},
        "model": {"class_path": "x", "init_args": {"iterations": 2}},
        "data": sample,
    }
    artifacts = Artifacts(tmp_path, {"fit": "0" * 64})
    trials = {"fit": Trial(Stage("fit", "fit", config), work=10.0, phases=[2, 3])}
    seen = {
        "train": [[3.0, 1.0, 1.0], [2.0, 2.0]],
        "val": [0.5],
        "predict": [4.0],
        "iteration": [1.0],
        "batches": 10,
        "val_batches": 4,
    }
    write_whole(artifacts.folder("fit") / FILE, json.dumps(seen))
    total = 5 + 9 + 0.5 + 4
    estimates = Estimates(trials, artifacts, {"fit": total})
    full, tried = estimates._images("fit")
    assert full > 0
    training = 2 * 10 * 1.0 + 3 * 10 * 2.0 + 5 * 4 * 0.5
    protecting = (4.0 + 2 * 9 * 1.0) * full / tried
    assert estimates._fit("fit") == pytest.approx(5 + training + protecting)


@pytest.mark.parametrize(
    ("log", "expected", "helps"),
    [
        (
            "Epoch 1\r 50%\nTraceback\n  File x\nValueError: no such\n  thing\n",
            "ValueError: no such thing",
            None,
        ),
        ("RuntimeError: CUDA out of memory.\n", "RuntimeError: CUDA out of memory.", "batch_size"),
        ("usage: fit\nerror: arch='x' is unknown\n", "error: arch='x' is unknown", None),
        (
            "Predicting:  33%|#| 1/3 [00:01<00:02]error: 0.safetensors is bad\n",
            "error: 0.safetensors is bad",
            None,
        ),
        (
            "IndexError: Target 9 is out of bounds.\n",
            "IndexError: Target 9 is out of bounds.",
            "n_identities",
        ),
        ("", "it printed nothing", None),
    ],
)
def test_the_cause_is_what_was_said_last(tmp_path: Path, log: str, expected: str, helps: str | None) -> None:
    (tmp_path / "log").write_text(log)
    why = cause(tmp_path / "log")
    assert why == expected
    assert remedy(why) is None if helps is None else helps in str(remedy(why))
