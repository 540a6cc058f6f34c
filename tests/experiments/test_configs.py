"""Every example configuration does what its first line says, here with tiny data in the real layouts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import ROOT
from fake_faces import fake_celeba, fake_folder, fake_lfw

from experiments import fit
from experiments.study import carry_out
from experiments.study.__main__ import parse
from experiments.study.config import StudyConfig
from experiments.study.keys import references
from experiments.study.layers import overlay, read
from experiments.study.plan import Plan
from facecrafter.store import TensorStore

pytestmark = pytest.mark.filterwarnings("ignore:LightningCLI's args parameter", "ignore:Checkpoint directory")

CONFIGS = {path.name: path for path in sorted((ROOT / "experiments" / "configs").glob("*.yaml"))}
CONTENT = {name: yaml.safe_load(path.read_text()) for name, path in CONFIGS.items()}
STUDIES = [name for name, content in CONTENT.items() if "defences" in content or "extends" in content]
FITS = [name for name, content in CONTENT.items() if "model" in content]

# Sizes that change no code path, by class: a generator of 4 channels, 2 iterations.
SMALL_MODELS: dict[str, dict[str, Any]] = {
    "Prior": {"latent_dim": 8, "width": 4, "critic_width": 4},
    "Decoder": {"width": 8, "blocks": 1},
    "Disco": {"width": 8, "blocks": 1},
    "Crafter": {"iterations": 2, "inner": "{first: 3, starts: 1}", "critic": "{steps: 1, width: 4}"},
}


@pytest.fixture(scope="module")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Arguments that point each data set at a tiny one, in the official layout where it has one."""
    root = tmp_path_factory.mktemp("faces")
    trees = {
        "CelebA": fake_celeba(root / "celeba"),
        "LFW": fake_lfw(root / "lfw", images=6),
        "FolderFaces": fake_folder(root / "folder"),
    }
    roots: dict[str, dict[str, Any]] = {name: {"root": str(tree)} for name, tree in trees.items()}
    roots["LFW"]["min_images"] = 3
    roots["FolderFaces"]["labels"] = str(trees["FolderFaces"] / "labels.csv")
    roots["SyntheticFaces"] = {"n_identities": 10, "images_per_identity": 5}
    sizes = {"image_size": 32, "private_identities": 4, "batch_size": 8, "manifest_batch_size": 2}
    return {name: {**arguments, **sizes} for name, arguments in roots.items()}


def class_name(section: dict[str, Any]) -> str:
    return section["class_path"].rpartition(".")[2]


def arguments(
    name: str, output: Path, data: dict[str, dict[str, Any]], networks: dict[str, Path]
) -> list[str]:
    """The command line: the configuration as it is, and options that make it tiny."""
    model, faces = CONTENT[name]["model"], CONTENT[name]["data"]
    asked = model.get("init_args", {}).keys()
    smaller = dict(SMALL_MODELS.get(class_name(model), {}))
    smaller |= {
        argument: folder
        for argument, folder in {**networks, "encoder": networks.get("target")}.items()
        if argument in asked
    }
    options = {f"model.init_args.{key}": value for key, value in smaller.items()}
    options |= {f"data.init_args.{key}": value for key, value in data[class_name(faces)].items()}
    options |= {"trainer.max_epochs": 1, "trainer.accelerator": "cpu", "output": output}
    return ["--config", str(CONFIGS[name]), *(f"--{key}={value}" for key, value in options.items())]


@pytest.fixture(scope="module")
def networks(
    small_data: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """What the examples that others start from leave behind."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("target", "prior"):
        fit.main(arguments(f"fit-{name}.yaml", folder / name, small_data, {}))
    return {"target": folder / "target", "prior": folder / "prior"}


def test_a_fit_leaves_weights_curves_images_and_an_offline_run(networks: dict[str, Path]) -> None:
    for folder in (networks["target"], networks["prior"]):
        assert torch.load(folder / "last.ckpt", weights_only=True)["epoch"] == 0
        assert "epoch" in next(folder.glob("logs/*/metrics.csv")).read_text()
        assert list(folder.glob("wandb/offline-run-*/*.wandb")), "nothing was kept for Weights & Biases"
    assert [sheet.name for sheet in (networks["prior"] / "images").iterdir()] == ["epoch-00000.png"]


@pytest.mark.parametrize("name", [name for name in FITS if name not in ("fit-target.yaml", "fit-prior.yaml")])
def test_every_fit_runs(
    name: str, small_data: dict[str, dict[str, Any]], networks: dict[str, Path], tmp_path: Path
) -> None:
    fit.main([*arguments(name, tmp_path / "run", small_data, networks), "--trainer.logger=false"])
    assert (tmp_path / "run" / "config.yaml").is_file()
    if class_name(CONTENT[name]["model"]) == "Crafter":
        assert len(TensorStore.open(tmp_path / "run" / "features").load("row")["row"]) == 4
    else:
        assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["epoch"] == 0


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_is_planned(
    name: str,
    small_data: dict[str, dict[str, Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing in it is misspelt, and every defence, attack and identification leads to a measurement."""
    config = read(CONFIGS[name])
    smaller = small_data[class_name(config["data"])]
    config = overlay(config, {"data": {"init_args": smaller}})
    (tmp_path / name).write_text(yaml.safe_dump(config))
    line = [
        "--config",
        str(tmp_path / name),
        "--output",
        str(tmp_path / "study"),
        "--dry-run",
        "--no-preflight",
    ]
    plans, planned = [], carry_out.planned
    monkeypatch.setattr(carry_out, "planned", lambda path: plans.append(planned(path)) or plans[-1])
    assert carry_out.run(**vars(parse(line))) == 0
    assert re.search(r"^(\d+) of \1 to do", capsys.readouterr().out, re.MULTILINE)

    assert_a_network_that_goes_on_is_judged_before_it_does(plans[0].config)
    assert_f_learns_as_long_with_and_without_users(plans[0].config)
    assert_f_is_the_head_of_its_encoder(plans[0].config)
    assert_a_matcher_goes_on_from_one_of_its_layers(plans[0].config)
    assert_no_network_is_fitted_for_nothing(plans[0])
    labels = plans[0].labels.values()
    assert {row["defence"] for row in labels} == set(config["defences"])
    expected = {*config["attacks"], *config.get("identifications", {}), *config.get("together", [])}
    assert {row["attack"] for row in labels} - {"none"} == expected


def assert_a_network_that_goes_on_is_judged_before_it_does(config: StudyConfig) -> None:
    """An attacker may leave it: without epoch 0 a training that spoils a network looks like safety."""
    for name, attack in config.attacks.items():
        for fit_name in references(attack.networks) & config.fits.keys():
            if {"start", "prior"} & config.fits[fit_name].model.get(
                "init_args", {}
            ).keys() and attack.adaptive == "A1":
                searched = attack.search.candidates.values() if attack.search else []
                assert 0 in [*(attack.epochs or []), *(one.epoch for one in searched)], name


def assert_a_matcher_goes_on_from_one_of_its_layers(config: StudyConfig) -> None:
    """Else it is refused when it is fitted, and who queries a defence is spared."""
    for name, fit_ in config.fits.items():
        arguments = fit_.model.get("init_args", {})
        if class_name(fit_.model) == "Matcher" and "start" in arguments:
            (start,) = references(arguments["start"])
            before = config.fits[start].model.get("init_args", {})
            for argument in ("layers", "directions"):
                assert arguments.get(argument) == before.get(argument), name


def assert_no_network_is_fitted_for_nothing(plan: Plan) -> None:
    """Left over where a study drops what it was for, it costs minutes that nobody sees in any table."""
    used = {name for stage in plan.stages.values() for name in stage.inputs}
    assert not [name for name, stage in plan.stages.items() if stage.command == "fit" and name not in used]


def assert_f_learns_as_long_with_and_without_users(config: StudyConfig) -> None:
    """Else the longer training would pass for what users' features are worth."""
    if {"head", "public_head"} <= config.fits.keys():
        head, public = (config.fits[name].trainer["max_epochs"] for name in ("head", "public_head"))
        assert head == public


def assert_f_is_the_head_of_its_encoder(config: StudyConfig) -> None:
    """Else it is refused after an hour, when all that users send is protected."""
    arch = {
        name: fit_.model.get("init_args", {}).get("arch", "resnet18") for name, fit_ in config.fits.items()
    }
    for name in {"head", "public_head"} & config.fits.keys():
        assert arch[name] == arch["encoder"], name


def test_every_example_is_tried() -> None:
    """`wandb.yaml` goes on top of another, and `sweep.yaml` is for Weights & Biases."""
    assert {*STUDIES, *FITS, "wandb.yaml", "sweep.yaml"} == set(CONFIGS)
