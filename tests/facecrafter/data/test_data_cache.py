"""The cache: nothing is decoded twice, nothing stale, half-built or damaged is used, nobody else looks."""

from __future__ import annotations

import errno
import multiprocessing
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from facecrafter.data.cache import Wanted, open_cache


def wanted(
    value: int, source: str = "source", keys: tuple[str, ...] = ("", "", ""), **made: object
) -> Wanted:
    """Three pictures of 4x4 pixels, the first of the given value, each brighter than the last."""

    def pictures(positions: np.ndarray) -> Iterator[tuple[np.ndarray, str]]:
        return map(picture, positions)

    def picture(position: int) -> tuple[np.ndarray, str]:
        return np.full((3, 4, 4), value + position, np.uint8), f"hash {position}"

    return Wanted(source, len(keys), 4, lambda: keys, made.get("pictures", pictures))


def never(_: np.ndarray) -> Iterator[tuple[np.ndarray, str]]:
    raise AssertionError("the cache was built again")


def test_built_once_and_reused(tmp_path: Path) -> None:
    first = open_cache(tmp_path, "faces", wanted(10))
    again = open_cache(tmp_path, "faces", wanted(10, pictures=never))
    assert again == first
    assert again.sha256 == ["hash 0", "hash 1", "hash 2"]
    assert again.pixels(np.array([2, 0])).mean((1, 2, 3)).tolist() == [12, 10]


def test_another_source_is_decoded_anew(tmp_path: Path) -> None:
    open_cache(tmp_path, "faces", wanted(10))
    assert open_cache(tmp_path, "faces", wanted(50, "changed")).pixels([0]).max() == 50


@pytest.mark.parametrize("damage", ["truncate", "no description", "broken description"])
def test_a_damaged_cache_is_rebuilt(tmp_path: Path, damage: str) -> None:
    cache = open_cache(tmp_path, "faces", wanted(10))
    if damage == "truncate":
        cache.path.write_bytes(cache.path.read_bytes()[:-7])
    else:
        cache.path.with_suffix(".json").write_text("" if damage == "no description" else "[]")
    assert open_cache(tmp_path, "faces", wanted(50)).pixels([0]).max() == 50


@pytest.mark.parametrize("ending", [".npy", ".json"])
def test_a_flipped_bit_anywhere_is_found(tmp_path: Path, ending: str, caplog) -> None:
    """Otherwise a network trains on a picture that nobody took, or a person has another picture's hash."""
    cache = open_cache(tmp_path, "faces", wanted(10))
    whole = cache.path.with_suffix(ending).read_bytes()
    for position in range(0, len(whole), 3):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        cache.path.with_suffix(ending).write_bytes(flipped)
        caplog.clear()
        again = open_cache(tmp_path, "faces", wanted(10))
        assert again.pixels([0, 1, 2]).tobytes() == b"".join(bytes([v]) * 48 for v in (10, 11, 12)), position
        assert again.sha256 == cache.sha256
        assert "faces.npy is unfinished or damaged" in caplog.text


def test_of_a_damaged_cache_only_the_damaged_picture_is_decoded_again(tmp_path: Path) -> None:
    keys = ("a", "b", "c")
    cache = open_cache(tmp_path, "faces-4", wanted(10, keys=keys))
    content = bytearray(cache.path.read_bytes())
    content[-1] ^= 1
    cache.path.write_bytes(content)
    assert open_cache(tmp_path, "faces-4", wanted(50, keys=keys)).pixels([0, 1, 2])[:, 0, 0, 0].tolist() == [
        10,
        11,
        52,
    ]


def damaged(positions: np.ndarray) -> Iterator[tuple[np.ndarray, str]]:
    """Two of three pictures cannot be used."""

    def picture(position: int) -> tuple[np.ndarray, str]:
        if position != 1:
            raise ValueError(f"{position}.jpg: bad")
        return np.full((3, 4, 4), 77, np.uint8), "hash"

    return map(picture, positions)


def test_all_damaged_pictures_are_named_and_the_others_kept(tmp_path: Path) -> None:
    """Otherwise each repair costs the decoding of everything."""
    keys = ("a", "b", "c")
    for _ in range(2):  # what was kept must not pass for the whole
        with pytest.raises(ValueError, match=r"^2 of 3 pictures cannot be used: 0\.jpg: bad; 2\.jpg: bad$"):
            open_cache(tmp_path, "faces-one", wanted(0, keys=keys, pictures=damaged))
    repaired = open_cache(tmp_path, "faces-other", wanted(10, "repaired", ("A", "b", "C")))
    assert repaired.pixels([0, 1, 2])[:, 0, 0, 0].tolist() == [10, 77, 12]
    assert [path.name for path in tmp_path.glob("*.npy")] == [
        "faces-other.npy"
    ]  # or each try would leave one


def test_of_many_damaged_pictures_ten_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"^39 of 40 pictures .* 0\.jpg: bad; 2\.jpg.*10\.jpg: bad; and 29 more$"
    ):
        open_cache(tmp_path, "faces", wanted(0, keys=("",) * 40, pictures=damaged))


def test_a_failure_while_decoding_leaves_nothing_that_passes_for_a_cache(tmp_path: Path) -> None:
    def failing(_: np.ndarray) -> Iterator[tuple[np.ndarray, str]]:
        yield np.zeros((3, 4, 4), np.uint8), "hash"
        raise ValueError("bad.jpg")

    with pytest.raises(ValueError, match=r"bad\.jpg"):
        open_cache(tmp_path, "faces", wanted(0, pictures=failing))
    assert open_cache(tmp_path, "faces", wanted(10)).pixels([0]).max() == 10


def test_faces_are_for_their_owner_alone(tmp_path: Path) -> None:
    for folder in (tmp_path / "deep" / "new", tmp_path / "open"):
        (tmp_path / "open").mkdir(mode=0o755, exist_ok=True)
        open_cache(folder, "faces", wanted(10))
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_folder_that_holds_other_things_keeps_its_permissions(tmp_path: Path) -> None:
    """It may be somebody's home or a share."""
    (tmp_path / "thesis.tex").touch()
    tmp_path.chmod(0o755)
    open_cache(tmp_path, "faces", wanted(10))
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "faces.npy").stat().st_mode) == 0o600


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_folder_that_takes_nothing_is_named_with_what_helps(
    tmp_path: Path, monkeypatch, error: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(ValueError, match=rf"{tmp_path}: .*MB.*{os.strerror(error)}.*FACECRAFTER_CACHE"):
        open_cache(tmp_path, "faces", wanted(10, pictures=never))
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(ValueError, match=r"cache: cannot keep .*FACECRAFTER_CACHE"):
        open_cache(tmp_path / "cache", "faces", wanted(10))


def test_a_whole_cache_in_a_folder_that_is_only_readable_is_used(tmp_path: Path, monkeypatch) -> None:
    open_cache(tmp_path, "faces", wanted(10))
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("a lock was taken"))
    open_cache(tmp_path, "faces", wanted(10, pictures=never))


def _open_and_log(folder: Path, barrier) -> None:
    def logged(positions: np.ndarray) -> Iterator[tuple[np.ndarray, str]]:
        with (folder / "built.txt").open("a") as file:
            file.write("built\n")
        return wanted(10).pictures(positions)

    barrier.wait()
    assert open_cache(folder, "faces", wanted(10, pictures=logged)).pixels([1]).max() == 11


def test_two_processes_at_once_build_one_cache(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    processes = [context.Process(target=_open_and_log, args=(tmp_path, barrier)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0]
    assert (tmp_path / "built.txt").read_text() == "built\n"
