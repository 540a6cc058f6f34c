"""What is read of several queries of the same pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from experiments.evaluation.batches import in_batches
from experiments.evaluation.faces import Faces, check_rows
from facecrafter.store import TensorStore


def mean_read(read: Callable[[Tensor], Tensor], queries: Sequence[TensorStore], faces: Faces) -> Tensor:
    """The mean (N, K) over the stores of `queries` of what `read` makes of each picture's features.

    Not what it makes of the mean feature, if it is not linear: of releases in strangers' features f's answers
    are kept in each, and in no mean of them.
    """
    return torch.stack([in_batches(read, _features(store, faces)) for store in queries]).mean(dim=0)


def _features(store: TensorStore, faces: Faces) -> Tensor:
    content = store.load("row", "features")
    check_rows(store, content["row"], faces)
    return content["features"].float()
