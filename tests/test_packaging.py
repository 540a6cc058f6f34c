"""What `pip install` puts into somebody's site-packages: the library, whole, and nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

import facecrafter

ROOT = Path(__file__).parents[1]
BUILD = "from setuptools.build_meta import build_wheel; print(build_wheel('dist'))"


def test_a_wheel_holds_the_library_and_nothing_of_the_checkout(tmp_path: Path) -> None:
    """`experiments` or `callbacks` in site-packages would hide, or be hidden by, another project's."""
    pytest.importorskip("setuptools", "77", "pip fetches one for an ordinary build")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    caches = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("src", "experiments", "lightning_modules", "datamodules", "callbacks", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=caches)
    built = subprocess.run([sys.executable, "-c", BUILD], cwd=tmp_path, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob(f"dist/facecrafter-{facecrafter.__version__}-*.whl")
    files = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    library = {path for pattern in ("*.py", "py.typed") for path in (ROOT / "src").rglob(pattern)}
    assert files == {str(path.relative_to(ROOT / "src")) for path in library}


def test_the_citation_and_the_changelog_know_the_version() -> None:
    """A tag of this commit would name one version, whose changes are listed or still unreleased."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == facecrafter.__version__
    first, *released = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first == "Unreleased"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+, \d{4}-\d\d-\d\d", heading) for heading in released)
    assert not released or released[0].startswith(f"{facecrafter.__version__}, ")
