"""What f's answers give away: from cases whose floor is known, through the command."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from datamodules import SyntheticFaces
from experiments import answers
from experiments.evaluation.answers import Asked, Pictures, at_threshold, floors, proved
from experiments.evaluation.unlinkability import Release, links
from facecrafter.store import TensorStore, encoder_hash

SIZES = {"n_identities": 40, "images_per_identity": 6, "private_identities": 10, "image_size": 32}
SIZES |= {"train_test_ratio": 1.0}


class Known(nn.Module):
    """Stands for a defence whose f answers what a table says of each picture, told by its mean colour."""

    def __init__(self, data: SyntheticFaces, answer: Any) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.AvgPool2d(SIZES["image_size"]))
        rows, colours, said = [], [], []
        for role in ("public", "public_val", "private_train", "private_test"):
            faces = data.faces(role)
            colours.append(self.encoder(faces.images(torch.arange(len(faces)))).flatten(1))
            rows.append(faces.rows)
            said.append(answer(role, faces))
        self.colours, self.said = torch.cat(colours), torch.cat(said)
        self.head = self.read
        self.task = "identities"

    training_step = LightningModule.training_step  # it learns nothing
    bits: int | None = None

    def read(self, features: Tensor) -> Tensor:
        nearest = torch.cdist(features.flatten(1), self.colours).argmin(dim=1)
        return self.said[nearest]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SyntheticFaces:
    faces = SyntheticFaces(**SIZES, cache_dir=str(tmp_path_factory.mktemp("cache")))
    faces.prepare_data()
    faces.setup("test")
    return faces


def released(folder: Path, defence: Known, faces: Any) -> Path:
    features = defence.encoder(faces.images(torch.arange(len(faces))))
    meta = {"kind": "features", "dtype": "float32", "encoder": encoder_hash(defence.encoder), "batches": 1}
    store = TensorStore.create(folder, meta | {"shape": list(features.shape[1:])})
    store.write(0, row=faces.rows, features=features)
    return folder


def measured(
    data: SyntheticFaces,
    answer: Any,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    bits: int | None = None,
    **stores: Any,
) -> dict[str, Any]:
    """The one row of the command, run on features that the encoder makes."""
    defence = Known(data, answer)
    defence.bits = bits
    monkeypatch.setattr(answers, "load_artifact", lambda *_: defence)
    config = {
        "data": {
            "class_path": "datamodules.SyntheticFaces",
            "init_args": {**SIZES, "cache_dir": str(data.cache_dir)},
        },
        "defence": "artifact",
        "features": str(released(folder / "features", defence, data.faces("private_test"))),
        "labels": {"defence": "none", "strength": ""},
        "output": str(folder / "answers"),
        "device": "cpu",
        **{name: str(released(folder / name, defence, data.faces(role))) for name, role in stores.items()},
    }
    (folder / "c.yaml").write_text(yaml.safe_dump(config))
    answers.main(["--config", str(folder / "c.yaml")])
    (row,) = json.loads((folder / "answers" / "results.json").read_text())
    return row


def who(role: str, faces: Any) -> Tensor:
    """Three numbers that stay with a person, and a little of each picture's own."""
    private = 1000 if role.startswith("private") else 0
    people = [
        torch.randn(3, generator=torch.Generator().manual_seed(private + int(i))) for i in faces.identities
    ]
    return torch.stack(people) + 0.01 * torch.randn(len(faces), 3, generator=torch.Generator().manual_seed(7))


def picture(role: str, faces: Any) -> Tensor:
    """Numbers of each picture that say nothing of the person."""
    return torch.stack(
        [torch.randn(3, generator=torch.Generator().manual_seed(int(row))) for row in faces.rows]
    )


def test_answers_that_stay_with_a_person_name_and_link_everybody(
    data: SyntheticFaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = measured(data, who, tmp_path, monkeypatch, second="private_train", again="private_test")
    assert (row["floor"], row["floor_raw"]) == (1.0, 1.0)
    assert row["floor_lo"] == pytest.approx(0.722, abs=0.002), "Wilson's, of 10 people: none is missed"
    assert row["d_sys_answers"] > 0.95
    assert row["answer_bits"] > 5, "three numbers, a hundred times as far apart as they vary"
    assert row["d_sys"] < 0.9, "a colour is not a person"
    assert row["d_sys_photograph"] is None, "ten pairs fill no two bins"
    assert (row["n_images"], row["n_identities"], row["floor_note"]) == (30, 10, None)
    with (tmp_path / "answers" / "per_image.csv").open() as lines:
        found = list(csv.DictReader(lines))
    assert len(found) == 90
    assert {line["correct"] for line in found if line["oracle"] == "floor"} == {"1"}


def test_a_picture_is_never_compared_with_itself(
    data: SyntheticFaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were it enrolled, answers that are unlike in every picture would name everybody."""
    row = measured(data, picture, tmp_path, monkeypatch)
    assert row["floor"] < 0.35
    assert row["answer_bits"] < 2
    assert row["d_sys_photograph"] is None
    assert row["proved"] is None


def test_what_is_proved_of_features_is_a_share_of_the_people(
    data: SyntheticFaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two words names two of ten people at most; more words than people prove nothing. A person who
    has many of the pictures is named often by anybody who always says that name."""
    assert measured(data, picture, tmp_path, monkeypatch, bits=1)["proved"] == pytest.approx(0.2)
    assert proved(4, torch.arange(10))["proved"] == 1
    assert proved(1, torch.tensor([0] * 3 + list(range(1, 13))))["proved"] == pytest.approx(6 / 15)


def at(answers: Tensor, raw: Tensor | None, truth: Tensor, task: str) -> dict[str, float]:
    return at_threshold(Pictures(answers, torch.arange(len(answers)) // 2), raw, truth.float(), task, 0)


def test_a_shift_that_no_auc_sees_turns_decisions() -> None:
    raw = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    truth, shift = raw > 0, torch.tensor([2.0, 0.0, 0.0])
    assert at(raw, raw, truth, "attributes")["balanced_accuracy"] == 1.0
    moved = at(raw + shift, raw, truth, "attributes")
    turned = ((raw[:, 0] <= 0) & (raw[:, 0] > -2)).double().mean().item() / 3
    assert moved["turned"] == pytest.approx(turned)
    negatives = raw[:, 0] <= 0
    expected = 1 - (raw[negatives, 0] > -2).double().mean().item() / 6
    assert moved["balanced_accuracy"] == pytest.approx(expected), "half of one of three"
    assert math.isnan(at(raw, None, truth, "attributes")["turned"]), "of a network of the defence's own"


def test_of_classes_a_choice_is_one_decision() -> None:
    classes = torch.arange(60) % 10
    raw = torch.nn.functional.one_hot(classes, 10).float()
    moved = at(raw.roll(1, dims=1), raw, raw, "classes")
    assert moved["turned"] == 1.0
    assert moved["balanced_accuracy"] == pytest.approx(8 / 9 / 2), "of each class none, of the others 8 of 9"
    assert math.isnan(at(raw, raw, raw, "identities")["balanced_accuracy"]), "f decides no attribute"


def test_releases_are_linked_as_far_as_they_tell() -> None:
    """A defence that draws nothing anew releases a photograph twice alike; other pictures of the people are
    linked by what they have in common, and features of nobody by nothing."""
    people, rng = torch.arange(60), torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=rng)

    person, nothing = normal(60, 8, 1, 1), normal(60, 1)
    strangers = Pictures(normal(40, 1), torch.arange(40) // 2)
    first = Release(person + 0.1 * normal(60, 8, 1, 1), nothing, people)
    second = Release(person + 0.1 * normal(60, 8, 1, 1), normal(60, 1), people)
    other = Release(normal(60, 8, 1, 1), normal(60, 1), people)
    same = links(first, second, first, strangers, 0)
    assert same["d_sys"] > 0.9
    assert same["d_sys_photograph"] > 0.9
    assert same["d_sys_photograph_lo"] <= same["d_sys_photograph"] <= same["d_sys_photograph_hi"]
    unlike = links(first, other, other, strangers, 0)
    assert unlike["d_sys"] < unlike["d_sys_lot"] + 0.15
    assert unlike["d_sys_photograph"] < 0.4
    assert math.isnan(links(first, None, None, strangers, 0)["d_sys"]), "one picture of each has no pair"


def test_nobody_has_to_be_named() -> None:
    """Where there is nothing to learn from or to be compared with, the floor is empty and says why."""
    alone = Pictures(torch.randn(5, 2), torch.arange(5))
    twice = Pictures(torch.randn(10, 2), torch.arange(10) // 2)
    nothing = Pictures(torch.zeros(10, 0), torch.arange(10) // 2)
    columns, hits = floors(
        {
            "floor": Asked(alone, twice, twice),
            "floor_raw": Asked(twice, Pictures(twice.numbers[1:3], torch.tensor([0, 2])), twice),
            "floor_attributes": Asked(nothing, nothing, nothing),
        },
        seed=0,
    )
    assert not hits
    assert all(math.isnan(columns[name]) for name in ("floor", "floor_raw_lo", "floor_attributes_hi"))
    note = columns["floor_note"]
    assert "floor: 5 pictures of 5 strangers" in note
    assert "identity 1 has no known photograph" in note
    assert "floor_attributes: there are no attributes" in note
