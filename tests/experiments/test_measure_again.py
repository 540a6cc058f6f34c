"""Several queries for the same faces, put together as they are read: `experiments.measure` with `again`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from compared_features import faces, fitted, measured, write_features

DATA = {"n_identities": 20, "images_per_identity": 8, "private_identities": 8}
NOISE = 2.0


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def fits(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted(tmp_path_factory.mktemp("fits"), cache, **DATA)


@pytest.fixture(scope="module")
def queries(cache: Path, fits: Path) -> list[str]:
    """The features of the private-test images, each time under other noise."""
    folders = [fits / f"query{seed}" for seed in range(4)]
    for seed, folder in enumerate(folders):
        write_features(folder, faces(cache, **DATA), fits, NOISE, seed=seed)
    return [str(folder) for folder in folders]


@pytest.fixture
def named(cache: Path, fits: Path, tmp_path: Path) -> Callable[..., float]:
    def run(first: str, *again: str) -> float:
        return measured(tmp_path, fits, cache, DATA, features=first, again=list(again))["eval_acc"]

    return run


def test_several_queries_name_more_people_than_any_one_of_them(
    named: Callable[..., float], queries: list[str]
) -> None:
    """By one alone a defence that draws at random would look as safe as if nobody ever asked it twice."""
    alone = [named(query) for query in queries]
    assert named(*queries) > max(alone) + 0.1
