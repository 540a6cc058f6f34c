"""JSON and YAML by strangers: refused with file, reason and remedy, never with a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from facecrafter.documents import MAX_DEPTH, parse_yaml, read_json, read_yaml
from facecrafter.store import TensorStore

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
"""Nine lines that stand for nine to the ninth values."""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested more than"),
        ("[" * 90 + "]" * 90, "nested more than"),
        ('{"a":' * 90 + "1" + "}" * 90, "nested more than"),
        ('{"a": 1e999}', "a is inf"),
        ('[1, {"loss": NaN}]', "loss is nan"),
        ("{", "Expecting"),
        ("9" * 5_000, "4300 digits"),
    ],
)
def test_json_is_refused_with_its_file_and_a_remedy(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"x\.json cannot be read as JSON: .*{reason}.*; do this"):
        read_json(path, "do this")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("- " * 5_000, "nested more than"),
        ("[" * 3_000, "nested more than"),
        (BOMB, "its aliases stand for more than 1,000,000 values"),
        ("&a [*a]", "nested more than"),
        ("a: .nan", "a is nan"),
        ("a: !!python/object/apply:os.system [echo]", "could not determine a constructor"),
        ("a: 2024-99-99", "month must be"),
    ],
)
def test_yaml_is_refused_with_its_file_and_a_remedy(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"(?s)x\.yaml is not valid YAML: .*{reason}.*; do this"):
        read_yaml(path, "do this")


def test_what_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"x cannot be read as JSON: it is no UTF-8 text"):
        read_json(tmp_path / "x", "do this")
    with pytest.raises(FileNotFoundError, match=r"nothing: no such file"):
        read_json(tmp_path / "nothing", "do this")


def test_aliases_in_moderation_are_what_yaml_is_for() -> None:
    assert parse_yaml("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}") == yaml.safe_load(
        "a: {x: 1}\nb: {x: 1}\nc: {x: 1, y: 2}"
    )
    assert parse_yaml("[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("batches", value) for value in (200_000_000, -1, 1.5, True, "3", None)),
        *(("shape", value) for value in ([2, -1], [2, 1e9], 7, [[2]], [10**30])),
        *(("dtype", value) for value in ("float33", "nn", None, [])),
        *(("kind", value) for value in ("image", [], None)),
        ("encoder", 3),
    ],
)
def test_a_store_that_says_the_impossible_is_refused_at_once(tmp_path: Path, key: str, value: object) -> None:
    """Two hundred million missing batches would be listed one by one, in memory."""
    meta = {"kind": "features", "shape": [2], "dtype": "float32", "encoder": "e", "batches": 1}
    with pytest.raises(ValueError, match=rf"the store's {key} is .*; delete it and run again"):
        TensorStore.create(tmp_path / "s", meta | {key: value})
    assert not (tmp_path / "s").exists()
