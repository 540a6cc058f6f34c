"""The real CelebA and LFW, where FACECRAFTER_DATA names a folder that holds celeba/ and lfw/."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from datamodules import LFW, CelebA

pytestmark = pytest.mark.real_data


@pytest.fixture
def data() -> Path:
    folder = os.environ.get("FACECRAFTER_DATA")
    if not folder or not all((Path(folder) / name).is_dir() for name in ("celeba", "lfw")):
        pytest.skip("FACECRAFTER_DATA does not name a folder that holds celeba/ and lfw/")
    return Path(folder)


def test_celeba(data: Path, tmp_path: Path) -> None:
    module = CelebA(str(data / "celeba"), private_identities=20, public_limit=200, cache_dir=str(tmp_path))
    module.prepare_data()
    module.setup("fit")
    assert len(module.attribute_names) == 40
    assert module.n_private_identities == 20
    assert len(module.faces("private_test")) >= 20
    assert 0.2 < float(module.faces("public").images(range(50)).mean()) < 0.8


def test_lfw(data: Path, tmp_path: Path) -> None:
    module = LFW(str(data / "lfw"), private_identities=5, public_limit=200, cache_dir=str(tmp_path))
    module.prepare_data()
    module.setup("fit")
    assert len(module.attribute_names) == 10
    train, test = (len(module.faces(role)) for role in ("private_train", "private_test"))
    assert train / test == pytest.approx(2, rel=0.1)
