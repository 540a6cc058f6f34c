"""Whatever Lightning's Trainer takes, a fit takes: on the command line, and with what it leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from every_module import INPUTS, TARGET, config
from tiny_study import model

from experiments import fit
from lightning_modules import TargetNetwork
from lightning_modules.artifacts import load_artifact

pytestmark = pytest.mark.filterwarnings("ignore:LightningCLI's args parameter", "ignore:Checkpoint directory")

CSV = "{class_path: pytorch_lightning.loggers.CSVLogger, init_args: {save_dir: elsewhere, name: mine}}"
STOPPING = "{class_path: pytorch_lightning.callbacks.EarlyStopping, init_args: {monitor: val/loss}}"
BAR = "{class_path: pytorch_lightning.callbacks.RichProgressBar}"
OPTIONS: dict[str, tuple[list[str], list[str], list[str]]] = {
    "no progress bar": (["enable_progress_bar=false"], ["last.ckpt"], []),
    "Lightning's logger": (["logger=true"], ["lightning_logs"], ["logs"]),
    "no logger": (["logger=false"], ["last.ckpt"], ["logs", "wandb"]),
    "one logger": ([f"logger={CSV}"], ["mine"], ["logs", "wandb"]),
    "one callback": ([f"callbacks={STOPPING}"], ["last.ckpt"], []),
    "no checkpoints": (["enable_checkpointing=false"], [], ["last.ckpt"]),
    "a trial": (["fast_dev_run=true"], [], ["last.ckpt"]),
    "steps": (["max_epochs=-1", "max_steps=3"], ["last.ckpt"], []),
    "a time": (["max_epochs=2", "max_time=00:01:00:00"], ["last.ckpt"], []),
    "some batches": (["limit_train_batches=2"], ["last.ckpt"], []),
    "a part of the batches": (["limit_train_batches=0.5", "limit_val_batches=0"], ["last.ckpt"], []),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_fit_takes_what_the_trainer_takes(name: str, tmp_path: Path) -> None:
    options, there, missing = OPTIONS[name]
    line = config(tmp_path / "c.yaml", tmp_path, INPUTS["target"])
    output = tmp_path / "run"
    fit.main(["--config", str(line), "--output", str(output), *(f"--trainer.{option}" for option in options)])
    assert load_artifact(output, TargetNetwork).n_outputs == 17
    assert [name for name in there if not (output / name).exists()] == []
    assert [name for name in missing if (output / name).exists()] == []


def test_steps_and_batches_are_counted(tmp_path: Path) -> None:
    """Options that are taken but not heeded would be worse than refused ones."""
    line = str(config(tmp_path / "c.yaml", tmp_path, INPUTS["target"]))
    for name, options in {
        "steps": ("max_epochs=-1", "max_steps=3"),
        "some": ("limit_train_batches=2",),
    }.items():
        fit.main(["--config", line, "--output", str(tmp_path / name), *(f"--trainer.{o}" for o in options)])
    steps = [
        torch.load(tmp_path / name / "last.ckpt", weights_only=True)["global_step"]
        for name in ("steps", "some")
    ]
    assert steps == [3, 2]


def test_a_schedule_over_an_unknown_length_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A time alone does not say how many steps there will be."""
    module = {"model": model("Decoder", encoder="${target}", image_size=32, width=4, blocks=1)}
    target = config(tmp_path / "t.yaml", tmp_path, {"model": model("TargetNetwork", **TARGET)})
    fit.main(["--config", str(target), "--output", str(tmp_path / "target")])
    line = config(tmp_path / "c.yaml", tmp_path, module, max_epochs=-1, max_time="00:00:01:00")
    with pytest.raises(ValueError, match="set max_epochs or max_steps"):
        fit.main(["--config", str(line), "--output", str(tmp_path / "decoder")])
