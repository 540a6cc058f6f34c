"""Several queries of the same pictures: the mean of what is read of each."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from experiments.evaluation.batches import mean_in_batches
from experiments.evaluation.faces import Faces, load_features
from facecrafter.store import TensorStore

N, QUERIES = 6, 4


@pytest.fixture
def faces() -> Faces:
    return Faces(torch.arange(N), torch.arange(N), torch.zeros(N, 1), torch.zeros(N, 3, 2, 2))


def stored(folder: Path, features: Tensor, rows: Tensor) -> TensorStore:
    meta = {"kind": "features", "shape": [2, 1, 1], "dtype": "float32", "encoder": "e", "batches": 1}
    store = TensorStore.create(folder, meta)
    store.write(0, row=rows, features=features)
    return store


def answers(features: Tensor) -> Tensor:
    """A head that is not linear: the answer is the product of two numbers."""
    return features.prod(dim=1).flatten(1)


def test_answers_that_every_query_keeps_are_averaged_and_not_the_features(
    faces: Faces, tmp_path: Path
) -> None:
    """Each query has another stranger, with the answer of this face and some noise: the mean of the answers
    comes near it, the answer of the mean feature does not."""
    rng = torch.Generator().manual_seed(0)
    truth = torch.randn(N, 1, generator=rng)
    queries = []
    for number in range(QUERIES):
        stranger = torch.randn(N, 1, generator=rng)
        answer = truth + 0.1 * torch.randn(N, 1, generator=rng)
        features = torch.stack([stranger, answer / stranger], dim=1)[..., None]
        order = torch.randperm(N, generator=rng)  # batches lie on the disk in an order of their own
        queries.append(stored(tmp_path / str(number), features[order], order))
    found = mean_in_batches(answers, [load_features(query, faces) for query in queries])
    torch.testing.assert_close(found, truth, rtol=0, atol=0.15)
    features = torch.stack([query.load("features")["features"] for query in queries])
    assert (answers(features.mean(dim=0)) - truth).abs().max() > 1
    torch.testing.assert_close(mean_in_batches(answers, features[:1]), answers(features[0]))


def test_a_query_of_other_pictures_is_refused(faces: Faces, tmp_path: Path) -> None:
    features = torch.ones(N, 2, 1, 1)
    assert load_features(stored(tmp_path / "a", features, faces.rows), faces).shape == features.shape
    with pytest.raises(ValueError, match="1 are missing"):
        load_features(stored(tmp_path / "b", features, faces.rows + 1), faces)
