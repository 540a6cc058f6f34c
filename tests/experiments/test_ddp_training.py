"""Every network that is trained, on two gloo ranks: one result, from data and random numbers of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule
from tiny_study import DATA, TRAINER, model, write
from torch import Tensor

from experiments import fit
from experiments.study.keys import substitute
from facecrafter.store import content_hash
from lightning_modules.artifacts import load_artifact

pytestmark = pytest.mark.filterwarnings("ignore:LightningCLI's args parameter", "ignore:Checkpoint directory")

SCRIPT = Path(__file__).parents[1] / "two_ranks.py"
PUBLIC = 42  # images: seven people, six images each
CONVOLUTION = {
    "class_path": "torch.nn.Conv2d",
    "init_args": {"in_channels": 3, "out_channels": 4, "kernel_size": 4, "stride": 4},
}
PRIOR = {"image_size": 32, "latent_dim": 8, "width": 4, "critic_width": 4, "critic_steps": 1}
DECODER = {"encoder": "${target}", "image_size": 32, "width": 8, "blocks": 1, "mirror": False}
WHOLE = {"batch_size": PUBLIC // 2}  # one batch on each of two ranks is the whole training set

FITS: dict[str, dict[str, Any]] = {
    "target": {"model": model("TargetNetwork", n_outputs=17)},
    "prior": {
        "model": model("Prior", **PRIOR, reconstruction=1.0, adversary_from=1),
        "trainer": {"strategy": "ddp_find_unused_parameters_true", "max_epochs": 2},
    },
    "decoder": {
        "model": model("Decoder", **DECODER),
        "trainer": {"max_epochs": 3},
        "data": WHOLE,
    },
    "amortizer": {"model": model("Amortizer", encoder="${target}", prior="${prior}")},
    "classifier": {
        "model": model("IdentityClassifier", n_identities=4),
        "data": {"fit_role": "private_train", "batch_size": 4},
    },
    # Without batch norm, whose statistics are each rank's own, and in 64-bit arithmetic.
    "plain": {
        "model": model(
            "TargetNetwork", n_outputs=17, encoder=CONVOLUTION, head={"class_path": "two_ranks.Head"}, shift=0
        ),
        "trainer": {"max_epochs": 3, "precision": "64-true"},
        "data": WHOLE,
    },
}
NETWORKS = ["target", "prior", "decoder", "amortizer", "classifier"]


def config(folder: Path, name: str, trainer: dict[str, Any], **data: Any) -> Path:
    """The configuration of a fit whose inputs are in `folder`."""
    part = substitute(FITS[name], lambda other: str(folder / other))
    sizes = DATA["init_args"] | {"images_per_identity": 6, "batch_size": 10}
    content = {
        "trainer": TRAINER
        | {"callbacks": [{"class_path": "two_ranks.Witness"}]}
        | part.get("trainer", {})
        | trainer,
        "model": part["model"],
        "data": {**DATA, "init_args": sizes | part.get("data", {}) | data},
        "threads": 1,
    }
    return write(content, folder / f"{name}.yaml")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all of FITS, each trained on two ranks."""
    folder = tmp_path_factory.mktemp("ddp")
    line = []
    for name, part in FITS.items():
        strategy = {"strategy": "ddp", **part.get("trainer", {})}["strategy"]
        line += [config(folder, name, {"devices": 2, "strategy": strategy}), folder / name]
    result = subprocess.run([sys.executable, SCRIPT, *line], capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-5000:]
    return folder


def reports(folder: Path, name: str) -> list[dict[str, Any]]:
    """What the witness of each rank wrote down."""
    return [json.loads((folder / name / f"rank{rank}.json").read_text()) for rank in (0, 1)]


def state(folder: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint."""
    content = torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]
    return {name: value for name, value in content.items() if isinstance(value, Tensor)}


@pytest.mark.parametrize("name", NETWORKS)
def test_both_ranks_end_with_the_weights_of_the_checkpoint(fitted: Path, name: str) -> None:
    """They saw other images, so only gradients that reach both ranks keep them together."""
    first, second = reports(fitted, name)
    assert first["weights"] == second["weights"]
    module = load_artifact(fitted / name, LightningModule)
    assert content_hash(dict(module.named_parameters())) == first["weights"]
    assert all(value.isfinite().all() for value in state(fitted / name).values())


@pytest.mark.parametrize("name", NETWORKS)
def test_each_rank_trains_on_images_of_its_own(fitted: Path, name: str) -> None:
    """Otherwise a second rank would be a waste, or count some people twice."""
    first, second = reports(fitted, name)
    epochs = first["epochs"]
    assert len(epochs) == len(second["epochs"]) == FITS[name].get("trainer", {}).get("max_epochs", 1)
    for one, other in zip(epochs, second["epochs"], strict=True):
        assert len(set(one) | set(other)) == len(one) + len(other) == 2 * len(one) > 0


@pytest.mark.parametrize("name", ["target", "prior", "classifier"])
def test_each_rank_draws_random_numbers_of_its_own(fitted: Path, name: str) -> None:
    """Otherwise the ranks would mirror and move their images alike, and learn from the same latents."""
    first, second = reports(fitted, name)
    assert first["draws"] != second["draws"]


def test_each_rank_amortizes_latents_of_its_own(fitted: Path) -> None:
    """It needs no images: with the same latents, two equal networks have the same loss."""
    first, second = reports(fitted, "amortizer")
    assert first["losses"][0] != second["losses"][0]


@pytest.mark.parametrize("name", ["target", "prior", "decoder"])
def test_validation_speaks_of_all_ranks(fitted: Path, name: str) -> None:
    """Each rank validates half of the images: what the first rank logs must not be its own half alone."""
    first, second = reports(fitted, name)
    assert first["validation"] == second["validation"] != {}


@pytest.mark.parametrize(("name", "tolerance"), [("decoder", 5e-6), ("plain", 1e-12)])
def test_two_ranks_take_the_steps_of_one_with_twice_the_batch(
    fitted: Path, name: str, tolerance: float, tmp_path: Path
) -> None:
    """Adam moves a weight by up to the learning rate, 1e-3, a step: the tolerance is rounding alone."""
    line = config(fitted, name, {"devices": 1, "strategy": "auto"}, batch_size=PUBLIC)
    fit.main(["--config", str(line), "--output", str(tmp_path)])
    torch.testing.assert_close(state(fitted / name), state(tmp_path), rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", ["target", "decoder", "amortizer", "classifier"])
def test_the_schedule_counts_the_steps_of_one_rank(fitted: Path, name: str) -> None:
    """A schedule for the whole data would stop a training on two ranks halfway, at a high learning rate."""
    checkpoint = torch.load(fitted / name / "last.ckpt", weights_only=True)
    assert checkpoint["lr_schedulers"][0]["total_steps"] == checkpoint["global_step"]
