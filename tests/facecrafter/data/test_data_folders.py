"""Data as it lies on people's disks: links, other tools' litter, unpacked too deep, converted, renamed, in
parts."""

from __future__ import annotations

import logging
import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_faces import fake_celeba, fake_folder, fake_lfw, fake_vggface2, save_face

from facecrafter.data import folders
from facecrafter.data.readers import Missing, read_celeba, read_folder, read_lfw, read_vggface2
from facecrafter.data.table import FaceTable

HAIR = ["Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair", "Bald"]


def folder(root: Path, missing: Missing = "error") -> FaceTable:
    return read_folder(root, root / "labels.csv", "path", "identity", None, missing)


def celeba(root: Path, missing: Missing = "error") -> FaceTable:
    return read_celeba(root, ["Smiling"], missing)


def lfw(root: Path, missing: Missing = "error") -> FaceTable:
    return read_lfw(root, ["Male"], missing)


def vgg(root: Path, missing: Missing = "error") -> FaceTable:
    return read_vggface2(root, root / "MAAD_Face.csv", HAIR, missing)


SETS = [(fake_folder, folder), (fake_celeba, celeba), (fake_lfw, lfw), (fake_vggface2, vgg)]
Make, Read = Callable[..., Path], Callable[..., FaceTable]


def same(one: FaceTable, other: FaceTable) -> bool:
    """Whether people and labels are the same; pictures may lie elsewhere."""
    return list(one.identity) == list(other.identity) and np.array_equal(one.attributes, other.attributes)


@pytest.mark.parametrize(("make", "read"), SETS)
def test_everything_may_be_a_link_of_the_owner(tmp_path: Path, make: Make, read: Read) -> None:
    """The README says so: 'put them, or a link to them'."""
    store = make(tmp_path / "store", 3, 2)
    root = tmp_path / "data"
    root.mkdir()
    for entry in store.iterdir():
        (root / entry.name).symlink_to(entry)
    assert same(read(root), read(store))
    (tmp_path / "linked").symlink_to(root)
    assert same(read(tmp_path / "linked"), read(store))


def test_single_pictures_may_be_links_too_but_not_twice_to_one(tmp_path: Path) -> None:
    root = fake_folder(tmp_path / "root", 2, 2)
    picture = root / "person 0/0.png"
    picture.rename(tmp_path / "elsewhere.png")
    picture.symlink_to(tmp_path / "elsewhere.png")
    assert len(folder(root).image) == 4
    (root / "person 0/1.png").unlink()
    (root / "person 0/1.png").symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(
        ValueError, match=r"'person 0/1\.png' is listed more than once \(as 'person 0/0\.png' in line 2"
    ):
        folder(root)


@pytest.mark.parametrize(("make", "read"), SETS)
def test_litter_of_other_tools_is_no_data(tmp_path: Path, make: Make, read: Read) -> None:
    root = make(tmp_path, 3, 2)
    wanted = read(root)
    for place in [path for path in (root, *root.rglob("*")) if path.is_dir()]:
        for name in (".ipynb_checkpoints", "__MACOSX", ".git", "@eaDir"):
            (place / name).mkdir()
            (place / name / "0001_01.jpg").touch()
        for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._000001.jpg"):
            (place / name).touch()
    assert same(read(root), wanted)


@pytest.mark.parametrize(("make", "read"), SETS[1:])
def test_capital_endings_and_converted_sets_are_read(tmp_path: Path, make: Make, read: Read) -> None:
    for ending in ("JPG", "png"):
        root = make(tmp_path / ending, 3, 2)
        wanted = read(root)
        for path in list(root.rglob("*.jpg")):
            path.rename(path.with_suffix(f".{ending}"))
        assert same(read(root), wanted)
        assert all(name.endswith(ending) for name in read(root).image)


def test_label_rows_in_capitals_mean_the_same_files(tmp_path: Path) -> None:
    root = fake_celeba(tmp_path, 3, 2)
    for name in ("list_attr_celeba.txt", "identity_CelebA.txt"):
        (root / name).write_text((root / name).read_text().replace(".jpg", ".JPG"))
    assert celeba(root).image[0] == "img_align_celeba/000001.jpg"


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_in_either_unicode_form_mean_the_same_file(tmp_path: Path, form: str) -> None:
    """Macs and Linux write accents differently."""
    other = "NFD" if form == "NFC" else "NFC"
    path = unicodedata.normalize(form, "Zoë/ä.png")
    save_face(tmp_path / path, 0, 0, 40, 40)
    (tmp_path / "labels.csv").write_text(
        unicodedata.normalize(other, "path,identity,tall\nZoë/ä.png,Zoë,1\n")
    )
    assert list(folder(tmp_path).image) == [path]


def test_backslashes_separate(tmp_path: Path) -> None:
    root = fake_folder(tmp_path, 2, 2)
    wanted = folder(root)
    (root / "labels.csv").write_text((root / "labels.csv").read_text().replace("/", "\\"))
    assert list(folder(root).image) == list(wanted.image)


def test_the_index_that_pandas_writes_is_named(tmp_path: Path) -> None:
    root = fake_folder(tmp_path, 2, 2)
    for name in ("", "Unnamed: 0"):
        lines = (root / "labels.csv").read_text().splitlines()
        indexed = [f"{name},{lines[0]}", *(f"{row},{line}" for row, line in enumerate(lines[1:]))]
        (root / "index.csv").write_text("\n".join(indexed))
        with pytest.raises(ValueError, match=r"column 1 has no name.*index=False"):
            read_folder(root, root / "index.csv", "path", "identity", None)
        chosen = read_folder(root, root / "index.csv", "path", "identity", ["tall"])
        assert chosen.attribute_names == ("tall",)


def move(root: Path, into: str, *names: str) -> None:
    (root / into).mkdir(parents=True)
    for name in names:
        (root / name).rename(root / into / name)


def test_a_set_that_was_unpacked_too_deep_is_found(tmp_path: Path) -> None:
    root = fake_celeba(tmp_path / "kaggle", 3, 2)
    wanted = celeba(root)
    (root / "img_align_celeba").rename(root / "inner")
    (root / "img_align_celeba").mkdir()
    (root / "inner").rename(root / "img_align_celeba" / "img_align_celeba")
    assert same(celeba(root), wanted)
    assert same(celeba(root.parent), wanted)
    root = fake_celeba(tmp_path / "other" / "official" / "CelebA", 3, 2)
    move(root, "Img", "img_align_celeba")
    move(root, "Anno", "identity_CelebA.txt", "list_attr_celeba.txt")
    assert same(celeba(root), wanted)
    assert same(celeba(root.parent), wanted)
    root = fake_lfw(tmp_path / "lfw", 3, 2)
    move(root, "lfw-dataset/inner", "lfw-deepfunneled")
    assert len(lfw(root).image) == 6
    root = fake_vggface2(tmp_path / "vgg", 4, 2)
    move(root, "data", "train", "test")
    move(root, "meta", "identity_meta.csv")
    assert len(vgg(root).image) == 8
    (root / "data/train").rename(root / "data/vggface2_train")
    assert len(vgg(root).image) == 8


def test_another_name_is_refused_with_what_was_looked_for_where_and_what_is_there(tmp_path: Path) -> None:
    """lfw_funneled is another alignment: taken for this one, it would give other numbers in silence."""
    root = fake_lfw(tmp_path / "lfw", 3, 2)
    (root / "lfw-deepfunneled").rename(root / "lfw_funneled")
    with pytest.raises(FileNotFoundError) as error:
        lfw(root)
    for part in (
        "'lfw-deepfunneled'",
        str(root),
        "holds lfw_attributes.txt, lfw_funneled/",
        "mean 'lfw_funneled'",
    ):
        assert part in str(error.value)
    root = fake_celeba(tmp_path / "celeba", 2, 2)
    with pytest.raises(FileNotFoundError, match=rf"lies beside, in {root}: make that the root"):
        celeba(root / "img_align_celeba")
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*celebA \(did you mean 'celeba'"):
        celeba(tmp_path / "celebA")
    shutil.rmtree(root / "img_align_celeba")
    (root / "img_align_celeba").symlink_to("/nowhere/at/all")
    with pytest.raises(FileNotFoundError, match=r"is a link to /nowhere/at/all, which does not exist"):
        celeba(root)


def test_no_more_folders_are_looked_at_than_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in range(6):
        for inner in range(2):
            (tmp_path / str(name) / str(inner)).mkdir(parents=True)
    looked_at = []
    entries_of = folders.entries_of
    monkeypatch.setattr(folders, "entries_of", lambda folder: looked_at.append(folder) or entries_of(folder))
    monkeypatch.setattr(folders, "_MOST_FOLDERS", 5)
    with pytest.raises(FileNotFoundError):
        folders.find(tmp_path, ["nowhere"], "the pictures", Path.is_dir)
    assert len(set(looked_at)) == 5


def test_two_sets_below_one_root_are_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        fake_celeba(tmp_path / name, 2, 2)
    with pytest.raises(ValueError, match=r"one/img_align_celeba, two/img_align_celeba could each be"):
        celeba(tmp_path)


@pytest.mark.parametrize(("make", "read"), SETS)
def test_a_part_of_a_set_is_counted_with_advice_or_read_if_wanted(
    tmp_path: Path, make: Make, read: Read, caplog
) -> None:
    root = make(tmp_path, 4, 5)
    whole = read(root)
    gone = list(whole.image[[0, 7, 8]])
    for name in gone:
        (root / name).unlink()
    with pytest.raises(
        ValueError, match=r"3 of 20 pictures have a label row but no image: .*set missing to 'skip'"
    ) as error:
        read(root)
    assert Path(gone[0]).name in str(error.value)
    with caplog.at_level(logging.WARNING):
        part = read(root, "skip")
    assert "left out 3 of 20 rows" in caplog.text
    assert set(part.image) == set(whole.image) - set(gone)


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("true", "maybe", r"6 of 15 rows cannot be used: .*labels\.csv, line 3: awake is 'maybe'"),
        (
            "person 0/1.png",
            "person 0/1.jpg",
            r"line 3: 'person 0/1\.jpg' has a label row but no image.*mean '1\.png'",
        ),
    ],
    ids=["all wrong rows are counted", "the closest picture is named"],
)
def test_mistakes_in_labels_are_named(tmp_path: Path, right: str, wrong: str, said: str) -> None:
    root = fake_folder(tmp_path, 3, 5)
    labels = root / "labels.csv"
    labels.write_text(labels.read_text().replace(right, wrong))
    with pytest.raises(ValueError, match=said):
        folder(root)


def test_celeba_labels_as_others_pass_them_on(tmp_path: Path) -> None:
    """A CSV file with a header in place of the count; identities with one, too; empty lines at the end."""
    root = fake_celeba(tmp_path, 3, 2)
    wanted = celeba(root)
    source = root / "list_attr_celeba.txt"
    source.write_text(source.read_text().replace("\n", "\r\n") + "\r\n\r\n")
    assert same(celeba(root), wanted)
    _, names, *rows = source.read_text().split("\n")
    lines = ["image_id," + ",".join(names.split()), *(",".join(row.split()) for row in rows)]
    (root / "list_attr_celeba.csv").write_text("\n".join(lines))
    source.unlink()
    people = root / "identity_CelebA.txt"
    people.write_text("image_id identity\n" + people.read_text() + "\n")
    assert same(celeba(root), wanted)


def test_pictures_without_a_person_are_counted(tmp_path: Path) -> None:
    root = fake_celeba(tmp_path, 3, 2)
    people = root / "identity_CelebA.txt"
    people.write_text("".join(people.read_text().splitlines(keepends=True)[2:]))
    with pytest.raises(
        ValueError, match=r"'000001\.jpg', '000002\.jpg' has no identity .*\(2 of 6 pictures\)"
    ):
        celeba(root)


def test_labels_of_other_people_than_those_there_are_named(tmp_path: Path) -> None:
    root = fake_vggface2(tmp_path, 4, 2)
    labels = root / "MAAD_Face.csv"
    labels.write_text(labels.read_text().replace("n0000", "m0000"))
    with pytest.raises(ValueError, match=r"none of its people is among the 4 in .* such as n00000"):
        vgg(root)


def test_paths_that_begin_with_the_root_are_read(tmp_path: Path) -> None:
    """As scripts that walk a folder write them."""
    root = fake_folder(tmp_path, 2, 2)
    wanted = list(folder(root).image)
    (root / "labels.csv").write_text(
        (root / "labels.csv").read_text().replace("\nperson", f"\n{root}/person")
    )
    assert list(folder(root).image) == wanted


def test_a_name_on_disk_that_is_no_text_does_not_hide_the_error(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / os.fsdecode(b"caf\xe9.txt")).touch()
    with pytest.raises(FileNotFoundError, match=r"holds caf.udce9\.txt") as error:
        celeba(tmp_path / "data")
    str(error.value).encode()  # printing it is no second error


def test_what_a_table_leaves_out_or_says_of_everybody_is_said(tmp_path: Path, caplog) -> None:
    """A table that was cut loses people in silence, and an attribute of one value a mean its meaning."""
    root = fake_folder(tmp_path / "root", 3, 2)
    (root / "person 0").rename(root / "elsewhere")
    (root / "person 0").symlink_to(root / "elsewhere")
    assert len(folder(root).image) == 6
    assert not caplog.messages, "a link leads to what is named"
    lines = (root / "labels.csv").read_text().splitlines()
    (root / "labels.csv").write_text("\n".join([*lines[:3], ""]))
    assert len(folder(root).image) == 2
    assert "names no row for 4 pictures, which are left out: 'person 1/0.png'" in caplog.text
    assert "the same is said of 'tall'" in caplog.text


def test_a_column_with_two_noes_is_refused(tmp_path: Path) -> None:
    """In some tables 0 is unknown where -1 is no: read as no, it would teach f what nobody knows."""
    root = fake_folder(tmp_path / "root", 3, 2)
    rows = [line.split(",") for line in (root / "labels.csv").read_text().splitlines()]
    rows[1][2], rows[2][2] = "-1", "0"
    (root / "labels.csv").write_text("\n".join(map(",".join, rows)))
    with pytest.raises(ValueError, match="tall is 0 in some rows and -1 in others"):
        folder(root)
    with pytest.raises(ValueError, match="is a folder; name a label file in it"):
        read_folder(root, root / "person 0", "path", "identity", None)


def test_names_that_differ_in_capital_letters_are_pointed_out(tmp_path: Path, caplog) -> None:
    root = fake_folder(tmp_path, 2, 2)
    text = (root / "labels.csv").read_text()
    (root / "labels.csv").write_text(text.replace("1.png,person 1", "1.png,Person 1"))
    folder(root)
    assert "count as different ones: 'Person 1', 'person 1'" in caplog.text
