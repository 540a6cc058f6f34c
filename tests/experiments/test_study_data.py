"""The faces of a study's stages: read once for all of them, and told apart by what each does with them."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from fake_faces import fake_celeba

import datamodules.celeba
from datamodules import CelebA
from datamodules.faces import USES, FaceDataModule
from experiments.study.data import StudyData
from experiments.what_counts import plain

OTHERS: dict[str, Any] = {
    "batch_size": 4,
    "fit_role": "private_train",
    "predict_role": "public",
    "predict_limit": 3,
    "predict_skip": 1,
    "manifest_batch_size": 3,
    "public_attribute": "Male",
    "private_exposure": 0.5,
    "cache_dir": "elsewhere",
    "num_workers": 2,
}


@pytest.fixture
def section(tmp_path: Path) -> dict[str, Any]:
    init_args = {"root": str(fake_celeba(tmp_path / "celeba")), "image_size": 32, "private_identities": 4}
    return {"class_path": "datamodules.CelebA", "init_args": init_args}


def test_whatever_is_done_with_the_pictures_their_labels_are_read_once(
    section: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a study of a thousand stages begins minutes later, of the whole of CelebA a quarter of an hour."""
    reads, sizes = [], []
    read, stat = datamodules.celeba.read_celeba, CelebA._stat
    monkeypatch.setattr(datamodules.celeba, "read_celeba", lambda *args: reads.append(args) or read(*args))
    monkeypatch.setattr(CelebA, "_stat", lambda self, name: sizes.append(name) or stat(self, name))
    data = StudyData(section)
    uses = [{}, *({name: value} for name, value in OTHERS.items())]
    pairs = [{"class_path": "datamodules.ProtectedPairs", "init_args": {"features": f}} for f in ("a", "b")]
    for use in [*uses, *pairs, *uses]:
        data.instance(use, "data").fingerprint()
        data.fingerprint(data.config(use))
    assert len(reads) == 1
    assert len(sizes) == len(set(sizes))

    data.instance({"seed": 1}, "data")  # other people are private
    data.instance({"attributes": ["Male"]}, "data")
    assert len(reads) == 3


def test_what_was_read_for_another_use_is_what_it_reads_itself(section: dict[str, Any]) -> None:
    data = StudyData(section)
    for name, value in OTHERS.items():
        alone = CelebA(**section["init_args"], **{name: value})
        shared = data.instance({name: value}, "data")
        assert shared.fingerprint() == alone.fingerprint(), name
        assert shared.sizes() == alone.sizes(), name


def test_uses_are_arguments_and_each_of_them_is_tried() -> None:
    arguments = inspect.signature(FaceDataModule).parameters.keys()
    assert arguments >= USES == OTHERS.keys()


def test_a_file_that_was_written_anew_is_hashed_anew(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"one")
    before = plain(file)
    assert plain(file) == before
    file.unlink()
    file.write_bytes(b"two")
    assert plain(file) != before
