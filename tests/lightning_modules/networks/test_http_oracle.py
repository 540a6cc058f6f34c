"""A face service as a judge: it names whom it should, sends nothing unasked, and is not believed blindly."""

from __future__ import annotations

import base64
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from enrolled import Photographs
from loopback import Loopback, served
from PIL import Image
from torch import Tensor

from experiments.evaluation.faces import Faces
from experiments.evaluation.judge import Judge
from facecrafter.blanks import filled
from lightning_modules import HttpOracle

PEOPLE, SIDE = 5, 8
FAST: dict[str, Any] = {"side": SIDE, "requests_per_second": 1e4, "backoff": 0.001, "private_images": True}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def pictures(seed: int) -> Tensor:
    """One of each person: a pattern of eight by eight pixels that stays, and noise."""
    people = torch.rand(PEOPLE, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(people.shape, generator=torch.Generator().manual_seed(seed))
    return (people + 0.05 * noise).clamp(0, 1)


def seen(text: str) -> np.ndarray:
    """What the service makes of an image: its pixels, about grey."""
    image = Image.open(io.BytesIO(base64.b64decode(text)))
    assert image.size == (SIDE, SIDE)
    return np.asarray(image).astype(float).ravel() / 255 - 0.5


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


class FaceService:
    """Embeds, compares, enrols and finds faces by their pixels."""

    def __init__(self) -> None:
        self.gallery: dict[str, np.ndarray] = {}

    def __call__(self, question: dict[str, Any], number: int) -> Any:
        image = seen(question["face"])
        if "against" in question:
            return {"result": {"similarity": cosine(image, seen(question["against"]))}}
        if "name" in question:
            self.gallery[question["name"]] = image
            return {"ok": True}
        if question["do"] == "embed":
            return {"data": [{"embedding": (3 * image).tolist()}]}
        found = sorted(((cosine(image, known), name) for name, known in self.gallery.items()), reverse=True)
        return {"found": [{"who": {"name": name}, "p": score} for score, name in found[:2]]}


def options(task: str, server: Loopback) -> dict[str, Any]:
    image: dict[str, Any] = {"face": "{image}"}
    return {
        "embed": {"question": image | {"do": "embed"}, "answer": "data.0.embedding"},
        "verify": {"question": image | {"against": "{other}"}, "answer": "result.similarity"},
        "identify": {
            "question": image | {"do": "find"},
            "answer": "found",
            "candidate": ("who.name", "p"),
            "enrolment": server.url,
            "enrolment_question": image | {"name": "{person}"},
        },
    }[task]


@pytest.mark.parametrize("task", ["embed", "verify", "identify"])
def test_a_service_of_each_kind_judges(task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As other judges do: photographs are enrolled, reconstructions are named. A second time it is free."""
    monkeypatch.setenv("FACE_KEY", "secret")
    rows = torch.arange(PEOPLE)
    faces = Faces(rows, rows, torch.zeros(PEOPLE, 1), pictures(2))
    with served(FaceService()) as server:

        def judge(folder: Path) -> Judge:
            oracle = HttpOracle(
                server.url,
                task,
                cache_dir=str(tmp_path / "service"),
                key="FACE_KEY",
                **options(task, server),
                **FAST,
            )
            return Judge("service", oracle, Photographs(pictures(1)), faces, 0, folder)

        found = judge(tmp_path / "first")
        sight = found.see(pictures(3)[[1, 0, 2, 3, 4]])
        verdict = found.verdict(sight)
        columns = found.columns(sight, verdict)
        asked = len(server.questions)
        judge(tmp_path / "second").see(pictures(3)[[1, 0, 2, 3, 4]])
        assert len(server.questions) == asked, "what was asked before is not asked again"
    assert verdict.correct.tolist() == [False, False, True, True, True]
    assert (columns["clean_acc"], columns["eval_acc"]) == (1.0, 0.6)
    assert math.isnan(columns["fsim"]) == math.isnan(columns["frechet"]) == (task != "embed")
    assert all(headers["Authorization"] == "Bearer secret" for headers in server.headers)
    kept = "".join(file.read_text() for file in tmp_path.rglob("*.json"))
    assert "secret" not in kept


@pytest.mark.parametrize("task", ["embed", "verify", "identify"])
def test_no_image_leaves_unless_it_may(task: Any, tmp_path: Path) -> None:
    with served(FaceService()) as server:
        closed = {**FAST, "private_images": False}
        oracle = HttpOracle(server.url, task, cache_dir=str(tmp_path), **options(task, server), **closed)

        def judge() -> Tensor:
            embeddings = oracle.embed(pictures(1))
            oracle.enrol(embeddings, torch.arange(PEOPLE))
            return oracle.scores(embeddings)

        with pytest.raises(ValueError, match="would leave this machine: set private_images"):
            judge()
        assert not server.questions


@pytest.mark.parametrize(
    ("task", "answer", "message"),
    [
        ("embed", {"data": []}, "there is no data.0.embedding"),
        ("embed", {"data": [{"embedding": [0.0, "x"]}]}, "'x' is no finite number"),
        ("embed", {"data": [{"embedding": [0.0, 0.0]}]}, "an embedding of 2 numbers, all 0"),
        ("verify", {"result": {"similarity": True}}, "'True' is no finite number"),
        ("identify", {"found": {}}, "dict in place of a list"),
        (
            "identify",
            {"found": [{"who": {"name": "Eve"}, "p": 1}]},
            "it names 'Eve', whom this study did not",
        ),
    ],
)
def test_a_lie_is_named_and_not_kept(task: Any, answer: Any, message: str, tmp_path: Path) -> None:
    """Else a service that fails in its answers would be taken for one that recognises nobody."""
    honest = FaceService()
    lies = [False]
    with served(
        lambda question, n: answer if lies[0] and "name" not in question else honest(question, n)
    ) as server:
        oracle = HttpOracle(server.url, task, cache_dir=str(tmp_path), **options(task, server), **FAST)
        oracle.enrol(oracle.embed(pictures(1)), torch.arange(PEOPLE))
        lies[0] = True
        with pytest.raises(ValueError, match=message):
            oracle.scores(oracle.embed(pictures(2)))
        lies[0] = False
        assert (oracle.scores(oracle.embed(pictures(2))).argmax(1) == torch.arange(PEOPLE)).all()


def test_embeddings_have_one_length(tmp_path: Path) -> None:
    with served(lambda _, number: [1.0] * (3 + number // 3)) as server:
        oracle = HttpOracle(server.url, "embed", {"face": "{image}"}, "", cache_dir=str(tmp_path), **FAST)
        with pytest.raises(ValueError, match="an embedding of 4 numbers, others of 3"):
            oracle.embed(pictures(1))
        with pytest.raises(ValueError, match="no image of identity 1 is enrolled"):
            oracle.enrol(torch.eye(3)[:2], torch.tensor([0, 2]))


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FACE_KEY", raising=False)
    url, cache = "https://example.org", str(tmp_path)
    with pytest.raises(ValueError, match="the environment has no FACE_KEY"):
        HttpOracle(url, "embed", {}, "", cache, key="FACE_KEY")
    with pytest.raises(ValueError, match="needs enrolment and enrolment_question"):
        HttpOracle(url, "identify", {}, "", cache)
    with pytest.raises(RuntimeError, match="nobody is enrolled"):
        HttpOracle(url, "verify", {}, "", cache).scores(torch.zeros(1, 3))


def test_a_value_does_not_fill_in_another() -> None:
    """A base64 text is put in as it is; what is no text stays."""
    template = {"a": ["{image}", 1, None], "b": {"c": "x-{person}"}}
    assert filled(template, image="{person}", person="p") == {"a": ["{person}", 1, None], "b": {"c": "x-p"}}
    assert json.dumps(template) == json.dumps({"a": ["{image}", 1, None], "b": {"c": "x-{person}"}})
