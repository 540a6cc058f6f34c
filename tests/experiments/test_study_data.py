"""The faces of a study's stages: read once for all of them, and told apart by what each does with them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_faces import fake_celeba
from tiny_study import TRAINER, model, tiny_study, write

import datamodules.celeba
import datamodules.faces
from datamodules import CelebA
from datamodules.faces import USES, FaceDataModule
from experiments import fit
from experiments.study.config import parse
from experiments.study.data import StudyData, made
from experiments.study.plan import Plan
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

    data.instance({"seed": 1}, "data").sizes()  # other people are private
    data.instance({"attributes": ["Male"]}, "data").sizes()
    assert len(reads) == 3


def test_what_was_read_for_another_use_is_what_it_reads_itself(section: dict[str, Any]) -> None:
    data = StudyData(section)
    for name, value in OTHERS.items():
        alone = CelebA(**section["init_args"], **{name: value})
        shared = data.instance({name: value}, "data")
        assert shared.fingerprint() == alone.fingerprint(), name
        assert shared.sizes() == alone.sizes(), name


def test_a_sample_is_of_labels_that_others_read(
    section: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And leaves those whose sample it is as they were: they can be set up themselves."""
    sample = {"class_path": "datamodules.sample.SampleFaces", "init_args": {"pictures": 4}}
    section["init_args"]["cache_dir"] = str(tmp_path / "cache")
    use = {**sample, "init_args": {**sample["init_args"], "data": {"batch_size": 8}}}
    alone = made(StudyData(section).config(use), "data")
    reads, read = [], datamodules.celeba.read_celeba
    monkeypatch.setattr(datamodules.celeba, "read_celeba", lambda *args: reads.append(args) or read(*args))
    data = StudyData(section)
    whole = data.instance({"batch_size": 4}, "data")
    found = data.instance(use, "data")
    assert found.fingerprint() == alone.fingerprint()
    assert found.sampled_protected() == alone.sampled_protected()
    assert len(reads) == 1
    for each in (whole, data.instance({"batch_size": 8}, "data")):
        each.prepare_data()
        each.setup()
        assert each.n_private_identities == 4


def test_other_attributes_are_read_although_the_labels_were(section: dict[str, Any], tmp_path: Path) -> None:
    """Else what unknown tasks are worth would be told of f's own ones."""
    data = StudyData(section)
    data.instance({}, "data")
    use = {"attributes": ["Male"], "cache_dir": str(tmp_path)}
    data.instance({"batch_size": 4, **use}, "data")
    shared = data.instance({"batch_size": 8, **use}, "data")
    shared.prepare_data()
    shared.setup()
    assert shared.labelled(["Smiling", "Young"]).attribute_names == ("Smiling", "Young")
    assert shared.attribute_names == ("Male",)


def test_what_wraps_no_data_is_told_so(section: dict[str, Any]) -> None:
    pairs = {"class_path": "datamodules.ProtectedPairs", "init_args": {"data": "nonsense", "features": "a"}}
    with pytest.raises(ValueError, match=r"data\.data: expected class_path and init_args, not 'nonsense'"):
        StudyData(section).made(pairs, "data")


def test_uses_are_arguments_and_each_of_them_is_tried() -> None:
    arguments = inspect.signature(FaceDataModule).parameters.keys()
    assert arguments >= USES == OTHERS.keys()


def test_a_file_that_was_written_anew_is_hashed_anew(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"one")
    before = plain(file)
    assert plain(file) == before
    file.unlink()
    file.write_bytes(b"another")
    assert plain(file) != before


def test_a_fit_reads_its_labels_once(
    section: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And opens its pictures once: to see that millions of pixels are whole takes seconds."""
    calls: list[str] = []

    def counted(name: str, found: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: calls.append(name) or found(*args)  # type: ignore[func-returns-value]

    monkeypatch.setattr(datamodules.celeba, "read_celeba", counted("labels", datamodules.celeba.read_celeba))
    monkeypatch.setattr(datamodules.faces, "open_cache", counted("pictures", datamodules.faces.open_cache))
    faces = {
        **section,
        "init_args": {**section["init_args"], "attributes": ["Male", "Young"], "batch_size": 4},
    }
    config = {"model": model("TargetNetwork", arch="resnet18_quarter"), "data": faces, "trainer": TRAINER}
    fit.main(["--config", str(write(config, tmp_path / "fit.yaml")), "--output", str(tmp_path / "run")])
    assert (tmp_path / "run" / "weights.safetensors").is_file()
    assert sorted(calls) == ["labels", "pictures"]


def test_a_misspelt_unknown_task_is_said_before_anything_runs() -> None:
    """Else hours of protecting and attacking go before it."""
    settings = tiny_study() | {"measure": {"unseen": ["Smilling"]}}
    with pytest.raises(ValueError, match=r"measure\.unseen: .* did you mean 'Smiling'"):
        Plan(parse(settings, "study.yaml"))
