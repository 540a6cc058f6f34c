"""A study whose pictures change between two runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fake_faces import fake_folder
from PIL import Image
from tiny_study import model, tiny_study, write

from experiments.study.__main__ import parse
from experiments.study.carry_out import run


def test_a_picture_replaced_by_one_of_the_same_size_is_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report would speak of pictures that are no longer there; a copied folder is another thing."""
    faces, study = fake_folder(tmp_path / "faces"), tmp_path / "study"
    files = {"root": str(faces), "labels": str(faces / "labels.csv"), "image_size": 32}
    config = {
        **tiny_study(),
        "data": {
            "class_path": "datamodules.FolderFaces",
            "init_args": {**files, "private_identities": 3, "batch_size": 4},
        },
        "defences": {"none": {"model": model("Undefended", target="${target}")}},
    }
    for name, parameter in {"target": "n_outputs", "classifier": "n_identities"}.items():
        del config["fits"][name]["model"]["init_args"][parameter]  # the painted faces'
    line = ["--config", str(write(config, tmp_path / "c.yaml")), "--output", str(study)]
    options = parse([*line, "--only", "data", "--no-preflight"])
    assert run(**vars(options)) == 0

    for picture in faces.rglob("*.png"):
        os.utime(picture, (0, 0))
    capsys.readouterr()
    assert run(**vars(options)) == 0
    assert "start" not in capsys.readouterr().out

    picture = faces / "person 1" / "2.png"
    size = picture.stat().st_size
    Image.new("RGB", (48, 40)).save(picture)
    picture.write_bytes(picture.read_bytes().ljust(size, b"\0"))
    assert picture.stat().st_size == size
    with pytest.raises(ValueError, match=r"'person 1/2\.png' is not.*\(1 have changed\).*--force data"):
        run(**vars(options))
