"""`python -m experiments.protect`: a defence protects other images, or the same ones again."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_faces import save_face
from tiny_study import DATA, TRAINER, model, write

from experiments import fit, protect
from experiments.photographs import Protector, tell
from facecrafter import photographs as pictures
from facecrafter.cells import original
from facecrafter.photographs import read
from facecrafter.randomness import seeded
from facecrafter.store import TensorStore
from lightning_modules.artifacts import load_artifact
from lightning_modules.defences.base import Defence

pytestmark = pytest.mark.filterwarnings("ignore:LightningCLI's args parameter", "ignore:Checkpoint directory")


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of a defence that adds noise, with its target network beside it."""
    folder = tmp_path_factory.mktemp("artifacts")
    modules = {
        "target": model("TargetNetwork", n_outputs=17),
        "noise": model("GaussianNoise", target=str(folder / "target")),
    }
    for name, module in modules.items():
        config = write({"trainer": TRAINER, "model": module, "data": DATA}, folder / f"{name}.yaml")
        fit.main(["--config", str(config), "--output", str(folder / name)])
    return folder / "noise"


def protected(noise: Path, output: Path, query: int = 0, **data: Any) -> dict[str, torch.Tensor]:
    """The features that the command wrote."""
    config = {
        "defence": str(noise),
        "data": {**DATA, "init_args": DATA["init_args"] | data},
        "query": query,
        "output": str(output),
        "trainer": {"accelerator": "cpu", "enable_progress_bar": False},
    }
    protect.main(["--config", str(write(config, output.with_suffix(".yaml")))])
    return TensorStore.open(output / "features").load("row", "features")


def test_the_same_query_gives_what_the_fit_gave_and_another_gives_other_noise(
    noise: Path, tmp_path: Path
) -> None:
    """Averaging queries (A3) reveals nothing if every query draws the same noise."""
    first = TensorStore.open(noise / "features").load("row", "features")
    same, again = protected(noise, tmp_path / "0"), protected(noise, tmp_path / "1", query=1)
    assert torch.equal(same["features"], first["features"])
    assert torch.equal(again["row"], first["row"])
    each = (1, 2, 3)
    difference = (again["features"] - first["features"]).std(dim=each)
    # The noise is as strong as the feature, so their sum and the difference of two draws vary alike.
    torch.testing.assert_close(difference, first["features"].std(dim=each), rtol=0.05, atol=0)


def test_an_attackers_own_images_are_protected_up_to_his_budget(noise: Path, tmp_path: Path) -> None:
    found = protected(noise, tmp_path / "public", predict_role="public", predict_limit=5)
    assert len(found["row"]) == 5
    assert not set(found["row"].tolist()) & set(
        TensorStore.open(noise / "features").load("row")["row"].tolist()
    )


def test_a_folder_that_holds_no_defence_is_refused(noise: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="target holds a TargetNetwork, not a Defence"):
        protected(noise.parent / "target", tmp_path / "wrong")


def test_a_folder_of_photographs_needs_no_labels_and_features_know_their_files(
    noise: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An application has photographs, and no roles: its features are the study's for the same pixels."""
    pictures, output = tmp_path / "photographs", tmp_path / "out"
    for number, name in enumerate(["b.png", "=a.jpg", "trip/c.png"]):
        save_face(pictures / name, person=number, number=0, width=48, height=40)
    (pictures / "notes.txt").write_text("not a picture")
    line = ["--images", str(pictures), "--defence", str(noise), "--output", str(output)]
    protect.main([*line, "--batch_size", "2"])
    told = capsys.readouterr()
    assert "the device holds: encoder" in told.out
    assert "left out 1 files that are no pictures by their ending" in told.err
    measured = (output / "device.json").read_text()
    assert json.loads(measured)["bits"] is None, "of noise nothing is proved"
    assert "proved" not in told.out
    protect.main([*line, "--batch_size", "2"])
    assert "all 3 pictures were protected before" in capsys.readouterr().out
    assert (output / "device.json").read_text() == measured, "no time was measured now"

    index = list(csv.DictReader((output / "index.csv").open()))
    assert index[0]["file"] == "'=a.jpg", "a spreadsheet would carry it out"
    index[0]["file"] = original(index[0]["file"])
    assert [row["file"] for row in index] == ["=a.jpg", "b.png", "trip/c.png"]
    assert [row["batch"] for row in index] == ["0", "0", "1"]
    found = TensorStore.open(output / "features").load("row", "features")
    assert found["row"].tolist() == [0, 1, 2]
    defence = load_artifact(noise, Defence)
    images = read([pictures / row["file"] for row in index], 32)
    expected = [defence.protect(images[:2], seeded(0, 0, 0)), defence.protect(images[2:], seeded(0, 0, 1))]
    torch.testing.assert_close(found["features"], torch.cat(expected))

    save_face(pictures / "d.png", person=4, number=0, width=48, height=40)
    with pytest.raises(ValueError, match="another"):
        protect.main([*line, "--batch_size", "2"])


@pytest.mark.parametrize("room", [0, 32 * 32 * 3, 2**20])
def test_a_picture_is_decoded_once_where_there_is_room(
    noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """All are read before the first is protected; a second time took as long as noise itself. What does not
    fit is read again, and the features are the same."""
    files = [tmp_path / "photographs" / f"{number}.png" for number in range(3)]
    for number, file in enumerate(files):
        save_face(file, person=number, number=0, width=40, height=40)
    read_files: list[Path] = []
    decode = pictures.decode
    monkeypatch.setattr(
        pictures, "decode", lambda file, *shown: read_files.append(file) or decode(file, *shown)
    )
    monkeypatch.setattr(pictures.read_ahead, "__defaults__", (None, room))
    line = [
        "--images",
        str(tmp_path / "photographs"),
        "--defence",
        str(noise),
        "--output",
        str(tmp_path / "out"),
    ]
    protect.main([*line, "--batch_size", "2"])
    again = {0: 3, 2**20: 0}.get(room, 2)
    assert len(read_files) == len(files) + again
    found = TensorStore.open(tmp_path / "out" / "features").load("row", "features")["features"]
    protector = Protector(noise)
    torch.testing.assert_close(found, torch.cat([protector(files[:2], 0), protector(files[2:], 1)]))


def test_other_pictures_under_the_same_names_are_not_taken_for_protected(noise: Path, tmp_path: Path) -> None:
    """Else a person would be sent as the one whose photograph was there before; and rows would overlap."""
    folder, output = tmp_path / "photographs", tmp_path / "out"
    save_face(folder / "me.png", person=0, number=0, width=40, height=40)
    line = ["--images", str(folder), "--defence", str(noise), "--output", str(output)]
    protect.main(line)
    protect.main(line)  # the same goes on
    with pytest.raises(ValueError, match="batch_size is 64 there and 7 now"):
        protect.main([*line, "--batch_size", "7"])
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        protect.main([*line, "--batch_size", "0"])
    save_face(folder / "me.png", person=1, number=0, width=40, height=40)
    with pytest.raises(ValueError, match="written for other files: some were added, changed or taken away"):
        protect.main(line)


def test_one_photograph_is_enough_and_what_is_none_is_named(noise: Path, tmp_path: Path) -> None:
    save_face(tmp_path / "me.png", person=0, number=0, width=40, height=40)
    assert Protector(noise)([tmp_path / "me.png"]).shape[0] == 1
    for name in ("broken.png", "text.jpg"):
        (tmp_path / name).write_text("no picture")
    line = ["--images", str(tmp_path), "--defence", str(noise), "--output", str(tmp_path / "out")]
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(ValueError, match=r"(?s)3 of 4 pictures.*broken\.png.*gone\.png.*text\.jpg"):
        protect.main([*line, "--batch_size", "1"])
    assert not (tmp_path / "out" / "features").exists()
    with pytest.raises(ValueError, match="no picture in it"):
        protect.main(["--images", str(noise / "features"), *line[2:]])


def test_what_is_proved_is_shipped_and_said(
    noise: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    protector = Protector(noise)
    protector.defence.bits = 5
    tell(tmp_path / "device.json", protector, 3, 0.1)
    assert json.loads((tmp_path / "device.json").read_text())["bits"] == 5
    assert "names the right one in at most 32/M of the cases" in capsys.readouterr().out


def test_what_may_be_sent_does_not_say_which_pictures_it_is_of(noise: Path, tmp_path: Path) -> None:
    """An unkeyed hash of the files in meta.json would name the picture to everybody who has a copy of it."""
    metas = []
    for name in ("a", "b"):
        save_face(tmp_path / name / "me.png", person=0, number=0, width=40, height=40)
        output = tmp_path / f"out-{name}"
        protect.main(["--images", str(tmp_path / name), "--defence", str(noise), "--output", str(output)])
        metas.append(TensorStore.open(output / "features").meta)
        assert (output / "pictures.key").stat().st_mode & 0o077 == 0
    assert metas[0]["files"] != metas[1]["files"], "the same file, under two keys"


def test_features_of_another_defence_do_not_go_on_those_of_one(noise: Path, tmp_path: Path) -> None:
    """The same encoder, other noise: half of the people would be protected otherwise than was meant."""
    stronger = tmp_path / "stronger"
    config = {
        "trainer": TRAINER,
        "model": model("GaussianNoise", target=str(noise.parent / "target"), sigma=9.0),
    }
    fit.main(
        ["--config", str(write({**config, "data": DATA}, tmp_path / "c.yaml")), "--output", str(stronger)]
    )
    save_face(tmp_path / "me" / "me.png", person=0, number=0, width=40, height=40)
    line = ["--images", str(tmp_path / "me"), "--output", str(tmp_path / "out"), "--defence"]
    protect.main([*line, str(noise)])
    with pytest.raises(ValueError, match="written for another run: defence is"):
        protect.main([*line, str(stronger)])
