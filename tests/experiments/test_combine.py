"""Attacks together: an image counts once, and what restarts have in common is found in their mean."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from enrolled import Photographs
from torch import Tensor

from experiments.evaluation.combining import fusion, union
from experiments.evaluation.faces import Faces
from experiments.evaluation.judge import Judge
from facecrafter.metrics import clustered_share
from facecrafter.store import TensorStore
from lightning_modules.networks.oracle import IdentityOracle

PEOPLE = 12


def write_measured(folder: Path, hits: dict[str, list[list[int]]], clean: float, seconds: float) -> Path:
    """What was found: by judge, for each restart whether each image was identified; top5 always."""
    folder.mkdir()
    rows, lines = [], []
    for oracle, restarts in hits.items():
        rows.append({"oracle": oracle, "restart": "best", "clean_acc": clean, "seconds": seconds})
        for restart, found in enumerate(restarts):
            lines += [
                {"oracle": oracle, "restart": restart, "row": row, "identity": row // 2, "correct": hit}
                | {"top5": 1}
                for row, hit in enumerate(found)
            ]
    (folder / "results.json").write_text(json.dumps(rows))
    with (folder / "per_image.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, lines[0])
        table.writeheader()
        table.writerows(lines)
    return folder


def test_a_union_is_who_is_identified_by_any_attack_in_any_restart(tmp_path: Path) -> None:
    first = write_measured(tmp_path / "a", {"x": [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0]]}, 0.9, 2.0)
    second = write_measured(tmp_path / "b", {"x": [[1, 0, 0, 1, 0]], "other": [[1] * 5]}, 0.9, 0.5)
    (row,), images = union([first, second], ["x"])
    interval = clustered_share(torch.tensor([1, 1, 0, 1, 0]).bool(), torch.tensor([0, 0, 1, 1, 2]))
    assert (row["eval_acc"], row["eval_acc_lo"], row["eval_acc_hi"]) == tuple(interval)
    assert (row["oracle"], row["restart"], row["clean_acc"], row["seconds"]) == ("x", "best", 0.9, 2.5)
    assert [image["correct"] for image in images] == [1, 1, 0, 1, 0]
    assert [image["identity"] for image in images] == [0, 0, 1, 1, 2]


def test_who_is_named_without_a_judge_is_in_every_union(tmp_path: Path) -> None:
    judged = write_measured(tmp_path / "a", {"x": [[1, 0, 0, 0, 0]]}, 0.9, 2.0)
    bare = write_measured(tmp_path / "b", {"itself": [[0, 0, 0, 0, 1]]}, 0.7, 0.5)
    (row,), images = union([judged, bare], ["x"])
    assert [image["correct"] for image in images] == [1, 0, 0, 0, 1]
    assert (row["clean_acc"], row["seconds"]) == (0.9, 2.5)


class Pixels(IdentityOracle):
    """Embeds an image as its pixels, and knows people by one photograph of each."""

    def embed(self, images: Tensor) -> Tensor:
        return images.flatten(1) - 0.5

    def enrol(self, embeddings: Tensor, identities: Tensor) -> None:
        self.known = embeddings[identities.argsort()]

    def scores(self, embeddings: Tensor) -> Tensor:
        return embeddings @ self.known.T


@pytest.fixture
def faces() -> Faces:
    images = torch.rand(PEOPLE, 3, 4, 4, generator=torch.Generator().manual_seed(0)).round()
    rows = torch.arange(PEOPLE)
    return Faces(rows, rows, torch.zeros(PEOPLE, 1), images)


def write_reconstructions(folder: Path, faces: Faces, noise: float, restarts: int) -> TensorStore:
    meta = {"kind": "reconstructions", "dtype": "float32", "encoder": "", "batches": 1}
    rng = torch.Generator().manual_seed(restarts)
    shape = (PEOPLE, restarts, 3, 4, 4)
    images = faces.images[:, None] + noise * torch.randn(shape, generator=rng)
    store = TensorStore.create(folder, meta | {"shape": list(images.shape[1:])})
    costs = {"losses": torch.zeros(PEOPLE, restarts), "seconds": torch.ones(PEOPLE)}
    store.write(0, row=faces.rows, images=images, **costs)
    return store


def test_a_fusion_finds_what_is_common_to_poor_reconstructions(tmp_path: Path, faces: Faces) -> None:
    judge = Judge("pixels", Pixels(), Photographs(faces.images), faces, 0, tmp_path / "cache")
    stores = [write_reconstructions(tmp_path / str(n), faces, noise=3.0, restarts=n) for n in (20, 30)]
    (alone,), _ = fusion([write_reconstructions(tmp_path / "1", faces, 3.0, 1)], [judge], faces)
    (row,), images = fusion(stores, [judge], faces)
    assert alone["eval_acc"] < 0.7 < row["eval_acc"]
    assert row["seconds"] == 2
    mean = torch.cat([store.load("images")["images"] for store in stores], dim=1).mean(dim=1)
    expected = (judge.oracle.scores(judge.oracle.embed(mean)).argmax(dim=1) == faces.identities).int()
    assert [image["correct"] for image in images] == expected.tolist()


class Service(Pixels):
    """Names people and tells no embedding: what it is asked about is pictures."""

    embeds = False


def test_whoever_does_not_embed_sees_no_mean(faces: Faces, tmp_path: Path) -> None:
    """The mean of what such a judge is shown is a picture of nobody, which would be sent to a service."""
    store = write_reconstructions(tmp_path / "made", faces, noise=0.1, restarts=1)
    oracles = {"pixels": Pixels(), "service": Service()}
    judges = [
        Judge(name, oracle, Photographs(faces.images), faces, 0, tmp_path / "cache")
        for name, oracle in oracles.items()
    ]
    rows, per_image = fusion([store], judges, faces)
    assert [row["oracle"] for row in rows] == ["pixels"]
    assert {line["oracle"] for line in per_image} == {"pixels"}
