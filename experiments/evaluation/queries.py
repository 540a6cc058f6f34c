"""What is read of several queries of the same pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from experiments.evaluation.batches import in_batches
from experiments.evaluation.faces import Faces, check_rows
from facecrafter.store import TensorStore


def mean_read(read: Callable[[Tensor], Tensor], queries: Sequence[Tensor]) -> Tensor:
    """The mean (N, K) over `queries`, features (N, C, h, w) each, of what `read` makes of each picture's.

    Not what it makes of the mean feature, if it is not linear: of releases in strangers' features f's answers
    are kept in each, and in no mean of them.
    """
    return torch.stack([in_batches(read, features) for features in queries]).mean(dim=0)


def load_queries(stores: Sequence[TensorStore], faces: Faces) -> list[Tensor]:
    """The features (N, C, h, w) in each store, of `faces` in their order.

    Raises:
        ValueError: a store is not of exactly these pictures.
    """
    found = []
    for store in stores:
        content = store.load("row", "features")
        check_rows(store, content["row"], faces)
        found.append(content["features"].float())
    return found
