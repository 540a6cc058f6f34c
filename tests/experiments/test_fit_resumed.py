"""Every network that is trained, killed in the middle of an epoch and started again: bit for bit the same."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command
from tiny_study import DATA, TRAINER, model, write
from toy_rivals import toy_tail

from experiments import fit
from experiments.study.keys import substitute
from lightning_modules.defences import tiprdc

pytestmark = pytest.mark.filterwarnings("ignore:LightningCLI's args parameter", "ignore:Checkpoint directory")

TESTS = Path(__file__).parents[1]
ENCODER = {
    "class_path": "torch.nn.Conv2d",
    "init_args": {"in_channels": 3, "out_channels": 4, "kernel_size": 4, "stride": 4},
}
TARGET = {"n_outputs": 17, "encoder": ENCODER, "head": {"class_path": "two_ranks.Head"}}
PRIOR = {"image_size": 32, "latent_dim": 8, "width": 4, "critic_width": 4, "critic_steps": 2}
DECODER = {"encoder": "${target}", "image_size": 32, "width": 4, "blocks": 1}
PRIVATE = {"fit_role": "private_train", "batch_size": 8}
TURNS = {"fit_role": ["public", "private_train"], "batch_size": 8}
PAIRS = {
    "class_path": "datamodules.ProtectedPairs",
    "init_args": {"features": "${protected}/features", "val_fraction": 0.3},
}
CROWD = {"class_path": "datamodules.CrowdsourcedFeatures", "init_args": {"features": "${crowd}/features"}}
NOISE = model("GaussianNoise", target="${target}", sigma=0.5)

INPUTS: dict[str, dict[str, Any]] = {
    "target": {"model": model("TargetNetwork", **TARGET)},
    "prior": {"model": model("Prior", **PRIOR)},
    "decoder": {"model": model("Decoder", **DECODER)},
    "protected": {"model": NOISE, "data": {"predict_role": "public"}},
    "resnet": {"model": model("TargetNetwork", n_outputs=17)},
    "crowd": {"model": model("GaussianNoise", target="${resnet}"), "data": {"predict_role": "private_train"}},
}
CASES: dict[str, dict[str, Any]] = {
    "TargetNetwork": INPUTS["target"],
    "Prior": {"model": model("Prior", **PRIOR, reconstruction=1.0), "data": {"batch_size": 6}},
    "Decoder": INPUTS["decoder"],
    "Decoder-A1": {"model": model("Decoder", **DECODER, start="${decoder}"), "wrapped": PAIRS},
    "AdversarialDecoder": {"model": model("AdversarialDecoder", **DECODER, critic_width=4)},
    "Amortizer": {"model": model("Amortizer", encoder="${target}", prior="${prior}")},
    "TunedPrior": {
        "model": model(
            "TunedPrior", encoder="${target}", prior="${prior}", iterations=4, refinements=1, steps=2
        ),
        "wrapped": PAIRS,
    },
    "IdentityClassifier": {"model": model("IdentityClassifier", n_identities=4), "data": PRIVATE},
    "SurrogateClassifier": {"model": model("SurrogateClassifier", n_identities=8)},
    "FeatureIdentifier": {
        "model": model("FeatureIdentifier", encoder="${target}", n_identities=4),
        "data": PRIVATE,
    },
    "HeadTraining": {
        "model": model("HeadTraining", encoder="${resnet}", n_outputs=17),
        "wrapped": CROWD,
        "data": {"batch_size": 8},
    },
    "StyleGan2": {
        "model": model(
            "StyleGan2", image_size=32, latent_dim=8, channel_base=128, channel_max=8, path_every=2
        )
    },
    "AdversarialLearning": {
        "model": model("AdversarialLearning", target="${target}", decoder="${decoder}"),
        "data": TURNS,
        "trainer": {"reload_dataloaders_every_n_epochs": 1},
    },
    "Disco": {
        "model": model("Disco", target="${target}", image_size=32, width=4, blocks=1),
        "data": PRIVATE,
    },
    "Tiprdc": {
        "model": model("Tiprdc", target="${target}", n_identities=4, image_size=32, pretraining=1),
        "data": PRIVATE,
    },
}


def config(path: Path, inputs: Path, case: dict[str, Any], **trainer: Any) -> Path:
    """The configuration of a case; what it builds on lies in the folder `inputs`."""
    faces = {**DATA, "init_args": DATA["init_args"] | {"batch_size": 12} | case.get("data", {})}
    data = faces
    if wrapped := case.get("wrapped"):
        data = {**wrapped, "init_args": {"data": faces, **wrapped["init_args"]}}
    content = {
        "trainer": TRAINER | case.get("trainer", {}) | trainer,
        "model": case["model"],
        "data": data,
        "threads": 1,
    }
    return write(substitute(content, lambda name: str(inputs / name)), path)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the cases build on."""
    folder = tmp_path_factory.mktemp("inputs")
    for name, case in INPUTS.items():
        line = config(folder / f"{name}.yaml", folder, case)
        fit.main(["--config", str(line), "--output", str(folder / name)])
    return folder


def weights(folder: Path) -> dict[str, Any]:
    return dict(torch.load(folder / "last.ckpt", weights_only=True)["state_dict"])


def assert_same(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        same = torch.equal(value, second[name]) if isinstance(value, torch.Tensor) else value == second[name]
        assert same, f"{name} differs"


@pytest.mark.parametrize("name", CASES)
def test_a_killed_training_ends_where_an_unbroken_one_ends(
    name: str, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With real latents, shifts, dropout and noise: one that draws others trains another network."""
    monkeypatch.setattr(tiprdc, "resnet18_tail", toy_tail)
    case = CASES[name]
    unbroken, resumed = tmp_path / "unbroken", tmp_path / "resumed"
    whole = config(tmp_path / "whole.yaml", inputs, case, max_epochs=2)
    killer = [{"class_path": "killer.Killer"}]
    killed = config(tmp_path / "killed.yaml", inputs, case, max_epochs=2, callbacks=killer)
    fit.main(["--config", str(whole), "--output", str(unbroken)])
    with pytest.raises(SystemExit, match="killed"):
        fit.main(["--config", str(killed), "--output", str(resumed)])
    torch.rand(7)  # whatever was drawn before the restart must not matter
    fit.main(["--config", str(whole), "--output", str(resumed)])
    assert_same(weights(unbroken), weights(resumed))


def test_a_training_that_the_system_killed_goes_on_on_the_command_line(
    command: Command, inputs: Path, tmp_path: Path
) -> None:
    """With workers, which are seeded when an epoch's loader starts: once in a run, again in a resumed one."""
    case = CASES["Prior"] | {"data": {"batch_size": 6, "num_workers": 1}}
    unbroken, resumed = tmp_path / "unbroken", tmp_path / "resumed"
    whole = config(tmp_path / "whole.yaml", inputs, CASES["Prior"], max_epochs=2)
    killer = [{"class_path": "killer.Killer", "init_args": {"hard": True}}]
    killed = config(tmp_path / "killed.yaml", inputs, case, max_epochs=2, callbacks=killer)
    result = command("fit", "--config", killed, "--output", resumed, path=TESTS)
    assert result.returncode == -signal.SIGKILL, result.stderr
    result = command("fit", "--config", whole, "--output", resumed)
    assert result.returncode == 0, result.stderr
    fit.main(["--config", str(whole), "--output", str(unbroken)])
    assert_same(weights(unbroken), weights(resumed))
