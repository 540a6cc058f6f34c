"""Artifacts at a URL: machines that share no folder find each other's."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
import tiny_study

from experiments.study import carry_out
from experiments.study.mirror import MARKER, Mirror


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def artifact(folder: Path) -> Path:
    (folder / "features").mkdir(parents=True)
    (folder / "features" / "000000.safetensors").write_text("features")
    (folder / MARKER).write_text("{}")
    return folder


def test_a_folder_arrives_elsewhere_as_it_was(tmp_path: Path) -> None:
    mirror = Mirror(f"file://{tmp_path}/remote")
    here, there = artifact(tmp_path / "here" / "target-0"), tmp_path / "there" / "target-0"
    assert not mirror.has(here)
    mirror.push(here)
    assert mirror.has(there)
    mirror.pull(there)
    assert files(there) == files(here)
    mirror.remove(here)
    assert not mirror.has(here)


def test_what_is_whole_here_is_not_fetched_again_and_what_is_not_whole_there_is_not_done(
    tmp_path: Path,
) -> None:
    mirror = Mirror(f"file://{tmp_path}/remote")
    here = artifact(tmp_path / "here" / "target-0")
    mirror.push(here)
    (here / "features" / "000000.safetensors").write_text("mine")
    mirror.pull(here)
    assert (here / "features" / "000000.safetensors").read_text() == "mine"
    (tmp_path / "remote" / "target-0" / MARKER).unlink()  # of a push that was killed
    assert not mirror.has(here)


@pytest.mark.slow
def test_a_study_goes_on_from_what_another_machine_left_at_the_url(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One folder plays three machines, each of which starts with nothing of its own."""
    settings = tiny_study.tiny_study()
    settings["defences"] = {"none": settings["defences"]["none"]}
    config, study = tiny_study.write(settings, tmp_path / "study.yaml"), tmp_path / "study"
    url = f"file://{tmp_path}/remote"
    assert carry_out.run(config, study, url, jobs=2, only=["decoder"], try_first=False) == 0
    shutil.rmtree(study)
    assert carry_out.run(config, study, url, jobs=2, try_first=False) == 0
    shown = capsys.readouterr().out
    assert shown.count("start  target") == shown.count("start  decoder") == 1, "the first machine's were used"
    found = (study / "results.csv").read_bytes()
    assert len(pd.read_csv(study / "results.csv")) == 2

    shutil.rmtree(study)
    assert carry_out.run(config, study, url, jobs=2, try_first=False) == 0
    assert "start " not in capsys.readouterr().out
    assert (study / "results.csv").read_bytes() == found
