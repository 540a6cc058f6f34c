"""The lock file that is installed from with hashes: whole, for what setup.cfg asks, as it is tested."""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parents[1]
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(file: str) -> dict[str, set[str]]:
    """Versions by name; one that differs between machines has several."""
    found: dict[str, set[str]] = {}
    for name, version in PIN.findall((ROOT / file).read_text()):
        found.setdefault(canonical(name), set()).add(version)
    return found


def asked() -> set[str]:
    """Names of all that setup.cfg installs, its extras included."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    sections = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    lines = [line for section in sections for line in section.splitlines() if line and line[0] != "#"]
    return {canonical(re.match(r"[A-Za-z0-9._-]+", line)[0]) for line in lines}  # type: ignore[index]


def test_every_package_is_locked_at_the_version_that_is_tested() -> None:
    """Else an install by hashes gives other numbers than the tests saw: `make lock` renews it."""
    locked, tested = pins("requirements.lock"), pins("constraints.txt")
    assert asked() <= locked.keys(), "run make lock"
    assert asked() <= tested.keys(), "name the version in constraints.txt"
    assert {name: versions for name, versions in tested.items() if locked.get(name) != versions} == {}


def test_every_locked_file_has_a_hash_and_none_says_where_it_comes_from() -> None:
    text = (ROOT / "requirements.lock").read_text()
    entries = re.split(r"\n(?=[A-Za-z0-9])", text)[1:]
    assert len(entries) > 100
    assert not [entry[:40] for entry in entries if "--hash=sha256:" not in entry]
    assert "://" not in text, "a mirror's address is nobody else's business"
