"""`python -m experiments.protect`: a defence protects other images, or the same ones again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_study import DATA, TRAINER, model, write

from experiments import fit, protect
from facecrafter.store import TensorStore

pytestmark = pytest.mark.filterwarnings("ignore:LightningCLI's args parameter", "ignore:Checkpoint directory")


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of a defence that adds noise, with its target network beside it."""
    folder = tmp_path_factory.mktemp("artifacts")
    modules = {
        "target": model("TargetNetwork", n_outputs=17),
        "noise": model("GaussianNoise", target=str(folder / "target")),
    }
    for name, module in modules.items():
        config = write({"trainer": TRAINER, "model": module, "data": DATA}, folder / f"{name}.yaml")
        fit.main(["--config", str(config), "--output", str(folder / name)])
    return folder / "noise"


def protected(noise: Path, output: Path, query: int = 0, **data: Any) -> dict[str, torch.Tensor]:
    """The features that the command wrote."""
    config = {
        "defence": str(noise),
        "data": {**DATA, "init_args": DATA["init_args"] | data},
        "query": query,
        "output": str(output),
        "trainer": {"accelerator": "cpu"},
    }
    protect.main(["--config", str(write(config, output.with_suffix(".yaml")))])
    return TensorStore.open(output / "features").load("row", "features")


def test_the_same_query_gives_what_the_fit_gave_and_another_gives_other_noise(
    noise: Path, tmp_path: Path
) -> None:
    """Averaging queries (A3) reveals nothing if every query draws the same noise."""
    first = TensorStore.open(noise / "features").load("row", "features")
    same, again = protected(noise, tmp_path / "0"), protected(noise, tmp_path / "1", query=1)
    assert torch.equal(same["features"], first["features"])
    assert torch.equal(again["row"], first["row"])
    each = (1, 2, 3)
    difference = (again["features"] - first["features"]).std(dim=each)
    # The noise is as strong as the feature, so their sum and the difference of two draws vary alike.
    torch.testing.assert_close(difference, first["features"].std(dim=each), rtol=0.05, atol=0)


def test_an_attackers_own_images_are_protected_up_to_his_budget(noise: Path, tmp_path: Path) -> None:
    found = protected(noise, tmp_path / "public", predict_role="public", predict_limit=5)
    assert len(found["row"]) == 5
    assert not set(found["row"].tolist()) & set(
        TensorStore.open(noise / "features").load("row")["row"].tolist()
    )


def test_a_folder_that_holds_no_defence_is_refused(noise: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not describe a Defence"):
        protected(noise.parent / "target", tmp_path / "wrong")
