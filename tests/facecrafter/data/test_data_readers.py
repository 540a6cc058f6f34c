"""Readers of the official layouts: right labels on right pictures, one clear error per bad input."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from fake_faces import (
    CELEBA_ATTRIBUTES,
    LFW_ATTRIBUTES,
    fake_celeba,
    fake_folder,
    fake_labels,
    fake_lfw,
    fake_vggface2,
)

from facecrafter.data.readers import read_celeba, read_folder, read_lfw, read_vggface2

HAIR = ["Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair", "Bald"]


def edit(path: Path, old: str, new: str) -> None:
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new, 1))


def cut_last_line(path: Path) -> str:
    *lines, last = path.read_text().splitlines()
    path.write_text("\n".join(lines) + "\n")
    return last


def test_celeba_labels_and_people(tmp_path: Path) -> None:
    table = read_celeba(fake_celeba(tmp_path, 3, 2), None)
    assert list(table.image) == [f"img_align_celeba/{n:06d}.jpg" for n in range(1, 7)]
    assert list(table.identity) == ["1", "1", "2", "2", "3", "3"]
    assert table.attribute_names == tuple(CELEBA_ATTRIBUTES)
    assert (table.attributes == (fake_labels(6, 40) > 0)).all()


def test_chosen_attributes_keep_their_columns(tmp_path: Path) -> None:
    table = read_celeba(fake_celeba(tmp_path, 3, 2), ["Smiling", "Bald"])
    assert table.attribute_names == ("Smiling", "Bald")
    columns = [CELEBA_ATTRIBUTES.index(name) for name in ("Smiling", "Bald")]
    assert (table.attributes == (fake_labels(6, 40) > 0)[:, columns]).all()


def test_an_unknown_attribute_brings_the_closest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'Smilling'; did you mean 'Smiling'"):
        read_celeba(fake_celeba(tmp_path, 2, 2), ["Smilling"])
    with pytest.raises(ValueError, match="each once"):
        read_celeba(tmp_path, ["Bald", "Bald"])


def test_celeba_bad_files_are_named(tmp_path: Path) -> None:
    root = fake_celeba(tmp_path, 2, 2)
    labels, people = root / "list_attr_celeba.txt", root / "identity_CelebA.txt"
    row = cut_last_line(labels)
    with pytest.raises(ValueError, match=r"celeba\.txt: its first line announces '4' pictures, 3 follow"):
        read_celeba(root, None)
    labels.write_text(labels.read_text() + row[:60] + "\n")
    with pytest.raises(ValueError, match="line 6: expected an image and 40 values"):
        read_celeba(root, None)
    cut_last_line(labels)
    labels.write_text(labels.read_text() + row.replace("000004", "000003") + "\n")
    with pytest.raises(ValueError, match=r"000003\.jpg' is listed more than once"):
        read_celeba(root, None)
    edit(labels, "000003", "000009")
    with pytest.raises(ValueError, match=r"'000009\.jpg' has a label row but no image"):
        read_celeba(root, None)
    edit(labels, "000009", "000003")
    cut_last_line(labels)
    labels.write_text(labels.read_text() + row + "\n")
    last = cut_last_line(people)
    with pytest.raises(ValueError, match=r"'000004\.jpg' has no identity"):
        read_celeba(root, None)
    people.write_text(people.read_text() + last.split()[0] + "\n")
    with pytest.raises(ValueError, match="line 4: expected an image and an identity"):
        read_celeba(root, None)
    people.unlink()
    with pytest.raises(FileNotFoundError, match=r"identity_CelebA\.txt is missing"):
        read_celeba(root, None)
    with pytest.raises(FileNotFoundError, match="img_align_celeba is missing: there is no folder"):
        read_celeba(tmp_path / "nowhere", None)


def test_lfw_labels_people_and_pictures_without_labels(tmp_path: Path, caplog) -> None:
    root = fake_lfw(tmp_path, 3, 2)
    (root / "lfw-deepfunneled" / ".DS_Store").touch()  # real copies have one
    cut_last_line(root / "lfw_attributes.txt")
    with caplog.at_level(logging.INFO):
        table = read_lfw(root, ["Smiling", "Male"])
    assert "left out 1 pictures" in caplog.text
    assert list(table.identity) == ["Ada_A._Byron"] * 2 + ["Ada_B._Byron"] * 2 + ["Ada_C._Byron"]
    assert table.image[0] == "lfw-deepfunneled/Ada_A._Byron/Ada_A._Byron_0001.jpg"
    columns = [LFW_ATTRIBUTES.index(name) for name in ("Smiling", "Male")]
    assert (table.attributes == (fake_labels(6, len(LFW_ATTRIBUTES)) > 0)[:5, columns]).all()


def test_lfw_scores_are_positive_above_zero(tmp_path: Path) -> None:
    root = fake_lfw(tmp_path, 1, 2)
    path = root / "lfw_attributes.txt"
    lines = path.read_text().splitlines()
    scores = ["0.5", "-0.5", "0.0", *["1"] * (len(LFW_ATTRIBUTES) - 3)]
    path.write_text("\n".join([*lines[:2], "\t".join(["Ada A. Byron", "1", *scores])]))
    assert read_lfw(root, LFW_ATTRIBUTES[:3]).attributes.tolist() == [[1, 0, 0]]
    edit(path, "0.5", "nan")
    with pytest.raises(ValueError, match="line 3: an attribute is not a finite number"):
        read_lfw(root, LFW_ATTRIBUTES[:3])


def test_lfw_bad_rows_are_named(tmp_path: Path) -> None:
    root = fake_lfw(tmp_path, 2, 2)
    edit(root / "lfw_attributes.txt", "Ada B. Byron\t2", "Ada B. Byron\t7")
    with pytest.raises(ValueError, match=r"'Ada_B._Byron_0007\.jpg' has a label row but no image"):
        read_lfw(root, ["Male"])
    edit(root / "lfw_attributes.txt", "Ada B. Byron\t7", "Ada B. Byron 7")
    with pytest.raises(ValueError, match="line 6: expected a person, a number"):
        read_lfw(root, ["Male"])
    with pytest.raises(ValueError, match="did you mean 'Chubby'"):
        read_lfw(root, ["Chuby"])


def test_vggface2_hair_and_people(tmp_path: Path) -> None:
    root = fake_vggface2(tmp_path, 4, 5)
    table = read_vggface2(root, root / "MAAD_Face.csv", HAIR)
    assert len(table.image) == 20
    assert table.image[0] == "test/n000004/0001_01.jpg"
    assert set(table.identity) == {f"n{number:06d}" for number in range(2, 6)}
    assert (table.attributes.sum(1) == 1).all()  # 0 (undefined) beside a positive means absent


def test_vggface2_undefined_hair_and_absent_people_are_left_out(tmp_path: Path, caplog) -> None:
    root = fake_vggface2(tmp_path, 4, 5)
    labels = root / "MAAD_Face.csv"
    labels.write_text(labels.read_text() + "n009999/0001_01.jpg,9999,1,0,1,0,0,0,0,-1\n")
    with caplog.at_level(logging.INFO):
        table = read_vggface2(root, labels, ["Bald", "Gray_Hair"])
    assert "left out 12 pictures" in caplog.text
    assert len(table.image) == 8


def test_vggface2_bad_trees_are_named(tmp_path: Path) -> None:
    root = fake_vggface2(tmp_path, 4, 2)
    labels = root / "MAAD_Face.csv"
    (root / "train/n000002/0002_01.jpg").unlink()
    with pytest.raises(ValueError, match=r"'n000002/0002_01\.jpg' has a label row but no image"):
        read_vggface2(root, labels, HAIR)
    (root / "test/n000002").mkdir()
    with pytest.raises(ValueError, match="'n000002' is in train and in test"):
        read_vggface2(root, labels, HAIR)
    (root / "test/n000002").rename(root / "test/n000077")
    with pytest.raises(ValueError, match="n000077: not among the identities"):
        read_vggface2(root, labels, HAIR)
    (root / "test/n000077").rmdir()
    edit(labels, "Filename", "File")
    with pytest.raises(ValueError, match="no column 'Filename'"):
        read_vggface2(root, labels, HAIR)


def folder_table(root: Path, attributes: list[str] | None = None):
    return read_folder(root, root / "labels.csv", "path", "identity", attributes)


def test_folder_reads_any_spelling_of_true(tmp_path: Path) -> None:
    root = fake_folder(tmp_path, 2, 2)
    table = folder_table(root)
    assert table.attribute_names == ("tall", "awake")
    assert table.attributes.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert table.image[0] == "person 0/0.png"
    assert folder_table(root, ["awake"]).attributes[:, 0].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("person 0/1.png", "person 0/9.png", r"line 3: 'person 0/9\.png' has a label row but no image"),
        ("person 0/1.png", "../person 0/1.png", "line 3: .* leads out of"),
        ("person 0/1.png", "/etc/passwd", "line 3: .* leads out of"),
        ("person 0/1.png", "person 1/../person 0/0.png", "line 3: .* leads out of"),
        (
            "person 0/1.png",
            "./person 0/0.png",
            r"line 3: 'person 0/0\.png' is listed more than once .*line 2",
        ),
        ("person 0/1.png", "C:\\person 0\\0.png", "line 3: .* leads out of"),
        ("person 0/1.png", "person 0/\x071.png", "line 3: .* control character"),
        ("1.png,person 0", "1.png,", "line 3: no identity"),
        ("0,true", "maybe,true", "line 3: tall is 'maybe'"),
        ("identity", "who", "no column 'identity' among path, who"),
        (",tall,awake", ",tall,tall", "two columns have the same name"),
    ],
)
def test_folder_bad_rows_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    root = fake_folder(tmp_path, 2, 2)
    edit(root / "labels.csv", old, new)
    with pytest.raises(ValueError, match=message):
        folder_table(root)


def test_folder_without_rows_or_attributes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,identity,tall\n")
    with pytest.raises(ValueError, match="lists no pictures"):
        folder_table(tmp_path)
    (tmp_path / "labels.csv").write_text("path,identity\n")
    with pytest.raises(ValueError, match="add one of 0 and 1 for each attribute that f is to read"):
        folder_table(tmp_path)
