"""Files are for their owner alone from the moment they exist, and whole."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import torch
from private import open_to_others, usual_umask

from facecrafter.files import PUBLIC, for_owner_alone, make_folder, write_whole, written_whole
from facecrafter.store import TensorStore


def test_a_store_that_a_program_of_its_own_makes_is_private(tmp_path: Path) -> None:
    """Without any command, whose umask would see to it: the library does."""
    meta = {"kind": "features", "shape": [2], "dtype": "float32", "encoder": "e", "batches": 1}
    with usual_umask():
        store = TensorStore.create(tmp_path / "new" / "features", meta)
        store.write(0, row=torch.arange(3), features=torch.zeros(3, 2))
    assert not open_to_others(tmp_path / "new")


def test_a_file_is_private_before_it_has_any_content(tmp_path: Path) -> None:
    """One that is made readable and then closed could be opened in between."""
    with usual_umask(), written_whole(tmp_path / "faces" / "x.npy") as file:
        assert not open_to_others(tmp_path / "faces"), file.name


def test_what_is_published_is_readable_whatever_the_umask(tmp_path: Path) -> None:
    with for_owner_alone():
        write_whole(tmp_path / "page.md", "text", PUBLIC)
    assert stat.S_IMODE((tmp_path / "page.md").stat().st_mode) == 0o644


def test_where_the_name_is_taken_by_a_folder_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "x" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="x"):
        write_whole(tmp_path / "x", "private")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_folders_that_are_there_stay_as_their_owner_made_them(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    with usual_umask():
        make_folder(tmp_path / "a" / "b")
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path, tmp_path / "a", tmp_path / "a" / "b")]
    assert modes == [0o750, 0o700, 0o700]


def test_the_umask_is_given_back_after_an_error() -> None:
    before = os.umask(0o022)
    try:
        with pytest.raises(RuntimeError), for_owner_alone():
            raise RuntimeError
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
