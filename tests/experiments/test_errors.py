"""What cannot be done ends in one sentence that says what would help; `--debug` shows where it happened."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from every_module import INPUTS, NARROW, config
from tiny_study import DATA, TRAINER, model, write

from experiments import attack, average, errors, fit, measure
from facecrafter import files
from lightning_modules.checkpoints import load_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore:LightningCLI's args parameter", "ignore:Checkpoint directory")


@pytest.mark.parametrize(
    ("number", "path", "expected"),
    [
        (
            errno.ENOSPC,
            "/runs/a/last.ckpt",
            "/runs/a/last.ckpt: No space left on device; make room there",
        ),
        (
            errno.EROFS,
            "/runs/a",
            "Read-only file system; make it writable, or choose another --output",
        ),
        (errno.EACCES, "CACHE/x.npy", "name another folder in FACECRAFTER_CACHE"),
        (errno.ENOENT, "/runs/b", "No such file"),
    ],
)
def test_an_error_of_the_file_system_says_what_helps(number: int, path: str, expected: str) -> None:
    path = path.replace("CACHE", os.environ["FACECRAFTER_CACHE"])
    assert expected in errors.sentence(OSError(number, os.strerror(number), path))


def test_the_sentence_is_all_there_is(command: Command, tmp_path: Path) -> None:
    """Nobody reads a sentence that stands under fifty lines of code."""
    result = command("average", f"--features=[{tmp_path}, {tmp_path}]", "--output", tmp_path / "mean")
    assert result.returncode != 0
    assert "Traceback" not in result.stderr, result.stderr
    assert "error: " in result.stderr
    assert str(tmp_path) in result.stderr


def test_a_class_that_refuses_what_it_is_given_says_so_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not below the types that would have done and all that was given, which is what jsonargparse says."""
    weights = tmp_path / "other.pt"
    weights.write_bytes(b"hello" * 100)
    target = model("TargetNetwork", n_outputs=17, arch=NARROW, weights=str(weights))
    section = write({"model": target, "data": DATA, "trainer": TRAINER}, tmp_path / "fit.yaml")
    found = fit_refused(capsys, "--config", section, "--output", tmp_path / "run")
    said = f"error: {weights} is damaged or no file of torch.save (--debug shows where)"
    assert found.endswith(said)
    assert "Subtypes" not in found
    oracle = {"embedding": model("EmbeddingOracle", weights=str(weights))}
    measured = {
        "data": DATA,
        "defence": "a",
        "features": "b",
        "output": str(tmp_path / "m"),
        "oracles": oracle,
    }
    with pytest.raises(SystemExit) as stop:
        errors.ends_in_sentences(measure.main)(["--config", str(write(measured, tmp_path / "measure.yaml"))])
    assert stop.value.code == said
    listed = f"{errors.NO_TYPE}\nErrors:\n  - Expected a <class 'int'>"
    assert errors.sentence(ValueError(listed)) == listed, (
        "the value had a wrong type, and no class refused it"
    )


def fit_refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The sentence with which a fit ends."""
    with pytest.raises(SystemExit) as stop:
        errors.ends_in_sentences(fit.main)([str(argument) for argument in arguments])
    assert stop.value.code not in (None, 0)
    return " ".join(f"{capsys.readouterr().err} {stop.value.code}".split())


def test_pictures_that_are_not_there_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = config(tmp_path / "c.yaml", tmp_path, INPUTS["target"])
    missing = "--data={class_path: datamodules.LFW, init_args: {root: nowhere, image_size: 32}}"
    said = fit_refused(capsys, "--config", line, "--output", tmp_path / "run", missing)
    assert "error: " in said
    assert "nowhere" in said


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"fea\xff\xfetures: a\n", "no UTF-8 text"),
        (b"features: a\nseed: " + b"9" * 5_000, "4300 digits"),
        (b"features: [a\n", "expected ',' or ']'"),
    ],
)
def test_a_configuration_that_is_no_yaml_is_named(content: bytes, reason: str, tmp_path: Path) -> None:
    """The library that reads it says at which byte, and not in which of several files."""
    path = tmp_path / "attack.yaml"
    path.write_bytes(content)
    for args in (["--config", str(path)], [f"--config={path}"]):
        with pytest.raises(SystemExit, match=rf"(?s)attack\.yaml cannot be read: .*{reason}"):
            errors.ends_in_sentences(attack.main)(args)


def test_a_cache_that_cannot_be_made_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACECRAFTER_CACHE", "/proc/cache")
    line = config(tmp_path / "c.yaml", tmp_path, INPUTS["target"])
    message = fit_refused(capsys, "--config", line, "--output", tmp_path / "run")
    assert "/proc/cache: cannot keep the decoded pictures" in message
    assert "name another folder as cache_dir or in FACECRAFTER_CACHE" in message


def test_what_does_not_fit_on_a_disk_is_named(tmp_path: Path) -> None:
    """The system's own error says neither which file nor whose; what was there stays."""
    files.write_whole(tmp_path / "a", b"before")
    _, hard = before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="File too large") as raised:
            files.write_whole(tmp_path / "a", bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert f"{tmp_path / 'a'}: File too large; make room there" in errors.sentence(raised.value)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"a": b"before"}


def test_debugging_shows_where(tmp_path: Path) -> None:
    arguments = [f"--features=[{tmp_path}, {tmp_path}]", "--output", str(tmp_path / "mean")]
    command = errors.ends_in_sentences(average.main)
    with pytest.raises(SystemExit, match=f"no store at {tmp_path}.*--debug"):
        command(arguments)
    with pytest.raises(FileNotFoundError):
        command(["--debug", *arguments])


def test_a_full_disk_costs_nothing_that_was_computed(
    tmp_path: Path, small_disk: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The epoch before is still there, whole, and the run goes on from it when there is room again."""
    line = config(tmp_path / "c.yaml", tmp_path, INPUTS["target"], max_epochs=2)
    output = tmp_path / "run"
    whole = fit.WholeCheckpointIO.save_checkpoint
    saved: list[int] = []

    def second_fails(self: Any, checkpoint: dict[str, Any], *args: Any, **options: Any) -> None:
        saved.append(checkpoint["epoch"])
        small_disk["room"] = 10**12 if checkpoint["epoch"] == 0 else 1000
        whole(self, checkpoint, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(fit.WholeCheckpointIO, "save_checkpoint", second_fails)
        with pytest.raises(SystemExit, match=r"last\.ckpt: No space left on device; make room"):
            errors.ends_in_sentences(fit.main)(["--config", str(line), "--output", str(output)])
    assert saved == [0, 1]
    assert load_checkpoint(output / "last.ckpt")["epoch"] == 0
    assert not list(output.glob("*.tmp"))
    small_disk["room"] = 10**12
    fit.main(["--config", str(line), "--output", str(output)])
    assert load_checkpoint(output / "last.ckpt")["epoch"] == 1
