"""The cache and the decoder: nothing is decoded twice, nothing stale or half-built is used."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facecrafter.data import decode as decoding
from facecrafter.data.cache import open_cache
from facecrafter.data.decode import decode
from facecrafter.data.files import inside, lines_of, rows_of


def pictures(value: int, count: int = 3) -> Iterator[tuple[np.ndarray, str]]:
    for position in range(count):
        yield np.full((3, 4, 4), value + position, np.uint8), f"hash {position}"


def never() -> Iterator[tuple[np.ndarray, str]]:
    raise AssertionError("the cache was built again")


def test_built_once_and_reused(tmp_path: Path) -> None:
    first = open_cache(tmp_path, "faces", "source", 3, 4, lambda: pictures(10))
    again = open_cache(tmp_path, "faces", "source", 3, 4, never)
    assert again == first
    assert again.sha256 == ["hash 0", "hash 1", "hash 2"]
    assert again.pixels(np.array([2, 0])).mean((1, 2, 3)).tolist() == [12, 10]


def test_another_source_is_decoded_anew(tmp_path: Path) -> None:
    open_cache(tmp_path, "faces", "source", 3, 4, lambda: pictures(10))
    assert open_cache(tmp_path, "faces", "changed", 3, 4, lambda: pictures(50)).pixels([0]).max() == 50


@pytest.mark.parametrize("damage", ["truncate", "no description", "broken description"])
def test_a_damaged_cache_is_rebuilt(tmp_path: Path, damage: str) -> None:
    cache = open_cache(tmp_path, "faces", "source", 3, 4, lambda: pictures(10))
    if damage == "truncate":
        cache.path.write_bytes(cache.path.read_bytes()[:-7])
    else:
        cache.path.with_suffix(".json").write_text("" if damage == "no description" else "[]")
    assert open_cache(tmp_path, "faces", "source", 3, 4, lambda: pictures(50)).pixels([0]).max() == 50


def test_a_failure_while_decoding_leaves_no_cache(tmp_path: Path) -> None:
    def failing() -> Iterator[tuple[np.ndarray, str]]:
        yield from pictures(10, 1)
        raise ValueError("bad.jpg")

    with pytest.raises(ValueError, match=r"bad\.jpg"):
        open_cache(tmp_path, "faces", "source", 3, 4, failing)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
    assert open_cache(tmp_path, "faces", "source", 3, 4, lambda: pictures(10)).pixels([0]).max() == 10


def _open_and_log(folder: Path, barrier) -> None:
    def logged() -> Iterator[tuple[np.ndarray, str]]:
        with (folder / "built.txt").open("a") as file:
            file.write("built\n")
        yield from pictures(10)

    barrier.wait()
    assert open_cache(folder, "faces", "source", 3, 4, logged).pixels([1]).max() == 11


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


def save(path: Path, width: int, height: int) -> Path:
    ramp = np.tile(np.linspace(0, 255, width).astype(np.uint8)[None, :, None], (height, 1, 3))
    Image.fromarray(ramp).save(path)
    return path


def test_centre_crop_and_hash(tmp_path: Path) -> None:
    path = save(tmp_path / "ramp.png", 178, 218)
    pixels, digest = decode(path, 64, 128)
    assert pixels.shape == (3, 64, 64)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    # The crop spans columns 25 to 153 of 178: its mean is the ramp's, its ends lie a seventh inside.
    assert pixels.mean() == pytest.approx(127.5, abs=1)
    assert pixels[0, 0, 0] == pytest.approx(25.5 / 177 * 255, abs=2)


def test_largest_square_and_grey_pictures(tmp_path: Path) -> None:
    Image.new("L", (30, 50), 77).save(tmp_path / "grey.png")
    assert (decode(tmp_path / "grey.png", 16, None)[0] == 77).all()


def test_photographs_taken_sideways_are_turned(tmp_path: Path) -> None:
    picture = Image.new("RGB", (40, 40), (0, 0, 0))
    picture.paste((255, 255, 255), (0, 0, 40, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise: what was on top is on the right
    picture.save(tmp_path / "turned.png", exif=exif)
    pixels = decode(tmp_path / "turned.png", 40, None)[0]
    assert pixels[0, 20, 35] == 255
    assert pixels[0, 20, 5] == 0


def test_truncated_damaged_and_foreign_files_are_named(tmp_path: Path) -> None:
    path = save(tmp_path / "face.jpg", 100, 100)
    path.write_bytes(path.read_bytes()[:-200])
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.jpg").touch()
    for name in ("face.jpg", "text.jpg", "empty.jpg"):
        with pytest.raises(ValueError, match=rf"{name}: cannot be read"):
            decode(tmp_path / name, 32, None)


def test_a_crop_larger_than_the_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"small\.png: 20x30 is smaller than the crop of 128"):
        decode(save(tmp_path / "small.png", 20, 30), 64, 128)


def test_huge_pictures_are_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "bomb.png", 100, 100)
    monkeypatch.setattr(decoding, "MAX_PIXELS", 9999)
    with pytest.raises(ValueError, match=r"bomb\.png: 100x100 is more than"):
        decode(path, 32, None)
    monkeypatch.setattr(decoding, "MAX_BYTES", 10)
    with pytest.raises(ValueError, match=r"bomb\.png: larger than"):
        decode(path, 32, None)


def test_paths_may_not_lead_out(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.png").touch()
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    for name in ("../secret.png", str(tmp_path / "secret.png"), "link.png", "a/../../secret.png"):
        with pytest.raises(ValueError, match="leads out"):
            inside(root, name)


def test_label_files_are_bounded_text_with_one_length_of_row(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    with pytest.raises(FileNotFoundError, match=r"labels\.csv is missing"):
        list(lines_of(path))
    path.write_bytes(b"a,b\n\xff\xfe,1\n")
    with pytest.raises(ValueError, match="not a UTF-8"):
        list(lines_of(path))
    path.write_text("a,b\n1,2\n1,2,3\n")
    with pytest.raises(ValueError, match="line 3: 3 cells for 2 columns"):
        list(rows_of(path))
    path.write_text("a,a\n1,2\n")
    with pytest.raises(ValueError, match="two columns"):
        list(rows_of(path))
    path.write_text("a,b\n" + "x" * 200_000 + ",2\n")
    with pytest.raises(ValueError, match="field larger"):
        list(rows_of(path))
    with pytest.raises(ValueError, match="larger than 0 MiB"):
        list(lines_of(path, 100))
