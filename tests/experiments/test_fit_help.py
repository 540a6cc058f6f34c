"""The help of experiments.fit: short, and by short names."""

from __future__ import annotations

import pytest

import datamodules
import lightning_modules
from experiments import fit
from experiments.overview import models, overview


def test_help_fits_on_a_screen_and_lists_what_can_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    fit.main(["--help"])
    shown = capsys.readouterr().out
    assert shown == overview() + "\n"
    lines = shown.splitlines()
    assert len(lines) < 70
    assert max(map(len, lines)) <= 110
    listed = {line.split()[0] for line in lines if line.startswith("  ")}
    bases = {"Defence", "IdentityOracle", "FaceDataModule", "PhotoDataModule"}
    assert listed >= {*lightning_modules.__all__, *datamodules.__all__} - bases
    assert not listed & bases, "nobody can train with those"


def test_an_option_without_a_class_lists_the_classes(capsys: pytest.CaptureFixture[str]) -> None:
    for line in (["--model"], ["--output", "x", "--model.help"]):
        fit.main(line)
        assert capsys.readouterr().out == models() + "\n"


@pytest.mark.parametrize(
    ("line", "argument"),
    [
        (["--data.help", "FolderFaces"], "--data.path_column"),
        (["--model.help", "Prior"], "--model.adversary_from"),
        (["--help_all"], "--trainer.accumulate_grad_batches"),
    ],
)
@pytest.mark.filterwarnings("ignore:LightningCLI's args parameter")
def test_a_short_name_is_enough(line: list[str], argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        fit.main(line)
    assert argument in capsys.readouterr().out
