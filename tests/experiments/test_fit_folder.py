"""The folder of a fit: whose it is, and whether what is in it is what was written."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from every_module import CASES, SOLVED_AT_ONCE, config
from pytorch_lightning import LightningModule
from tiny_study import DATA, TRAINER, model, write
from toy_rivals import shrink_rivals, small_tail

from experiments import fit
from lightning_modules.artifacts import load_artifact
from lightning_modules.checkpoints import load_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore:LightningCLI's args parameter", "ignore:Checkpoint directory")

ENCODER = {
    "class_path": "torch.nn.Conv2d",
    "init_args": {"in_channels": 3, "out_channels": 4, "kernel_size": 4, "stride": 4},
}
TARGET = model("TargetNetwork", n_outputs=17, encoder=ENCODER, head={"class_path": "two_ranks.Head"})


def run(folder: Path, *options: str, module: dict[str, Any] = TARGET) -> Path:
    config = write({"trainer": TRAINER, "model": module, "data": DATA, "threads": 1}, folder / "c.yaml")
    fit.main(["--config", str(config), "--output", str(folder / "run"), *options])
    return folder / "run"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("target"))


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ("--data.init_args.seed=5", "data.given.seed: 0 → 5"),
        ("--model.init_args.learning_rate=0.1", "model.arguments.learning_rate: 0.002 → 0.1"),
        ("--seed_everything=3", "seed_everything: 0 → 3"),
        ("--trainer.max_epochs=2", "learning rate was scheduled"),
        (
            "--trainer.callbacks=[{class_path: EarlyStopping, init_args: {monitor: val_loss}}]",
            "EarlyStopping",
        ),
    ],
)
def test_another_fit_is_refused_before_a_byte_is_written(
    target: Path, option: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise config.yaml would describe weights that it does not belong to."""
    before = contents(target)
    with pytest.raises(SystemExit) as stop:
        run(target.parent, option)
    message = " ".join(capsys.readouterr().err.split())
    assert stop.value.code == 2
    assert message.startswith("error: "), "how the command is used would be no answer"
    assert named in message
    assert "--overwrite" in message
    assert contents(target) == before


def test_what_a_callback_notes_or_shows_is_no_other_fit(target: Path) -> None:
    """Who looks closer at a training that was cut off has to go on with it."""
    run(target.parent, "--trainer.callbacks=[{class_path: LearningRateMonitor}]")


def test_the_checkpoint_of_another_fit_is_refused(
    target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Copied into the folder, it would be gone on from, under the configuration of this one."""
    output = run(tmp_path, "--data.init_args.seed=5")
    for name in ("last.ckpt", "last.ckpt.sha256"):
        (output / name).write_bytes((target / name).read_bytes())
    before = contents(output)
    with pytest.raises(SystemExit):
        run(tmp_path, "--data.init_args.seed=5")
    assert "last.ckpt was written by another fit" in " ".join(capsys.readouterr().err.split())
    assert contents(output) == before


def test_a_longer_training_goes_on_from_its_own_shorter_one(tmp_path: Path) -> None:
    """Also when it is stopped before its first epoch is saved: the checkpoint then is the shorter one's."""
    prior = model("Prior", image_size=32, latent_dim=8, width=4, critic_width=4)
    output = run(tmp_path, module=prior)
    shorter = {name: (output / name).read_bytes() for name in ("last.ckpt", "last.ckpt.sha256")}
    run(tmp_path, "--trainer.max_epochs=2", module=prior)
    for name, content in shorter.items():
        (output / name).write_bytes(content)
    run(tmp_path, "--trainer.max_epochs=3", module=prior)
    assert load_checkpoint(output / "last.ckpt")["epoch"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_module_goes_on_for_longer_or_refuses(
    name: str, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A schedule laid out over the shorter training would end before the longer one does."""
    shrink_rivals(monkeypatch, small_tail)
    output = str(tmp_path / "run")
    for epochs in (1, 2):
        line = config(tmp_path / f"{epochs}.yaml", inputs, CASES[name], max_epochs=epochs)
        before = contents(Path(output))
        try:
            fit.main(["--config", str(line), "--output", output])
        except SystemExit:
            assert epochs == 2
            assert contents(Path(output)) == before, "refused, but touched"
            return
    if name in SOLVED_AT_ONCE:
        assert Path(output, "weights.safetensors").is_file(), "solved again, of which no checkpoint is left"
    else:
        assert load_checkpoint(Path(output, "last.ckpt"))["epoch"] == 1


@pytest.mark.parametrize("mistake", ["constructor", "setup", "first step"])
def test_a_fit_that_fails_at_once_leaves_the_folder_to_the_corrected_one(
    tmp_path: Path, mistake: str
) -> None:
    """Its claim refused the next fit, which was told to clear the folder of a fit that had done nothing."""
    picture = tmp_path / "run" / "mine.png"
    picture.parent.mkdir()
    picture.touch()
    broken = model("TargetNetwork") | {"class_path": "failing.Failing"}
    broken["init_args"] = TARGET["init_args"] | {"where": mistake}
    with pytest.raises(ValueError, match=f"fails in its {mistake}"):
        run(tmp_path, module=broken)
    left = {path.name for path in picture.parent.iterdir() if path.is_file()}
    assert left == {"mine.png", ".lock"}, "what was there stays, and the lock"
    output = run(tmp_path)
    assert (output / "weights.safetensors").is_file()
    assert picture.is_file()


def test_a_fit_that_fails_later_keeps_its_folder(tmp_path: Path, target: Path) -> None:
    """A checkpoint is work: so is what another run of the same fit left, were it only its claim."""
    failing = {"class_path": "failing.Failing", "init_args": TARGET["init_args"] | {"where": "second epoch"}}
    with pytest.raises(ValueError, match="fails in its second epoch"):
        run(tmp_path, "--trainer.max_epochs=2", module=failing)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"fingerprint.json", "config.yaml", "last.ckpt"} <= names
    (tmp_path / "run" / "last.ckpt").unlink()
    with pytest.raises(ValueError, match="fails in its second epoch"):
        run(tmp_path, "--trainer.max_epochs=2", "--trainer.enable_checkpointing=false", module=failing)
    assert (tmp_path / "run" / "fingerprint.json").is_file(), "it was there before"


def test_another_strength_of_what_only_protects_is_refused(
    target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A store would otherwise be half of one strength and half of another."""
    noise = model("GaussianNoise", target=str(target), sigma=1.0)
    run(tmp_path, module=noise)
    with pytest.raises(SystemExit):
        run(tmp_path, "--model.init_args.sigma=9", module=noise)
    assert "model.arguments.sigma: 1.0 → 9" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("file", ["config.yaml", "fingerprint.json"])
def test_a_changed_letter_in_what_describes_a_fit_is_named(
    target: Path, tmp_path: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`sigma: 1.0` that has become 3.0 makes another defence of the same artifact."""
    shutil.copytree(target, tmp_path / "run")
    path = tmp_path / "run" / file
    path.write_text(path.read_text().replace("0.002", "0.003"))
    if file == "config.yaml":
        with pytest.raises(ValueError, match=r"config\.yaml is damaged"):
            load_artifact(tmp_path / "run", LightningModule)
    else:
        with pytest.raises(SystemExit):
            run(tmp_path)
        assert "fingerprint.json is damaged" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    "option",
    [
        "--checkpoint.filename=../x",
        "--trainer.logger={class_path: CSVLogger, init_args: {save_dir: ., name: ../../x}}",
        "--trainer.logger=[{class_path: CSVLogger, init_args: {save_dir: ., version: /x}}]",
        "--trainer.callbacks=[{class_path: ModelCheckpoint, init_args: {filename: a/../../x}}]",
    ],
)
def test_a_name_that_leads_out_of_the_output_is_refused(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A configuration from elsewhere would write over files of its reader."""
    with pytest.raises(SystemExit):
        run(tmp_path, option)
    assert "leads out of the output" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_overwriting_begins_anew(tmp_path: Path, target: Path) -> None:
    output = run(tmp_path)
    (output / "epoch=7.ckpt").touch()
    run(tmp_path, "--data.init_args.seed=5", "--overwrite=true")
    assert not (output / "epoch=7.ckpt").exists()
    assert load_checkpoint(output / "last.ckpt")["epoch"] == 0


def test_overwriting_deletes_nothing_where_no_fit_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slip in --output, and somebody's pictures would be gone."""
    picture = tmp_path / "run" / "2024" / "me.png"
    picture.parent.mkdir(parents=True)
    picture.touch()
    with pytest.raises(SystemExit):
        run(tmp_path, "--overwrite=true")
    assert "holds '2024' and no fit, so nothing in it is deleted" in " ".join(capsys.readouterr().err.split())
    assert picture.is_file()


@pytest.mark.parametrize("name", ["last.ckpt", "weights.safetensors"])
def test_every_flipped_bit_is_named(target: Path, tmp_path: Path, name: str) -> None:
    """A network with one weight changed would be measured as if it were the one that was trained."""
    for file in target.glob("*"):
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    if name == "last.ckpt":
        (tmp_path / "weights.safetensors").unlink()
    whole, draws = (tmp_path / name).read_bytes(), random.Random(0)
    for _ in range(60):
        bit = draws.randrange(8 * len(whole))
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{name} is damaged"):
            load_artifact(tmp_path, LightningModule)
    (tmp_path / name).write_bytes(whole)
    load_artifact(tmp_path, LightningModule)
