"""Files that nobody meant to write: each is read, or refused by a sentence that names it.

`make faults` tries thousands.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from faults.files import Read, label_files, try_labels, try_pictures


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Read]]:
    return label_files(tmp_path_factory.mktemp("sets"))


def test_some_hundred_damaged_label_files(labels: list[tuple[Path, Read]]) -> None:
    count = try_labels(labels, 350, seed=1)
    assert min(count.values()) > 10


def test_some_hundred_damaged_pictures(tmp_path: Path) -> None:
    count = try_pictures(tmp_path, 350, seed=1)
    assert min(count.values()) > 10
