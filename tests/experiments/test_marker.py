"""What a stage left is what it was when the stage was done, or is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from experiments.study.marker import read_marker, verified, write_marker


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "features").mkdir()
    for name in ("results.json", "features/meta.json", "features/000000.safetensors", "stage.log"):
        (tmp_path / name).write_text(name)
    write_marker(tmp_path, {"stage": "x", "seconds": 1.5})
    return tmp_path


def test_a_stage_that_is_whole_is_read(folder: Path) -> None:
    assert read_marker(verified(folder))["seconds"] == 1.5
    (folder / "stage.log").write_text("more")
    verified(folder)
    shutil.rmtree(folder / "features")
    verified(folder)


@pytest.mark.parametrize("name", ["results.json", "features/meta.json"])
def test_a_changed_file_is_named_with_its_remedy(folder: Path, name: str) -> None:
    """A figure in results.json with one bit flipped would go into the report as it is."""
    (folder / name).write_text("other")
    with pytest.raises(ValueError, match=rf"{name} is damaged: .* delete the folder and run the study again"):
        verified(folder)


def test_a_file_that_is_gone_is_named(folder: Path) -> None:
    (folder / "results.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"results\.json is missing"):
        verified(folder)


def test_flipped_bits_of_the_marker_are_named(folder: Path) -> None:
    """In the name of its checksum, too: nothing would be compared."""
    marker = folder / "stage.json"
    whole = marker.read_bytes()
    for bit in range(0, 8 * len(whole), 3):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        marker.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"stage\.json"):
            read_marker(folder)


def test_a_marker_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    (tmp_path / "stage.json").write_text(json.dumps({"seconds": 3.0}))
    assert read_marker(verified(tmp_path)) == {"seconds": 3.0}
