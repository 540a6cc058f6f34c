"""JSON and YAML that somebody else may have written: bounded, finite, and named in every refusal."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 64 * 2**20
MAX_DEPTH = 60
MAX_VALUES = 1_000_000
"""How much a YAML file may hold with its aliases written out; a few lines of them can mean billions."""


def read_json(path: Path, remedy: str) -> Any:
    """The content of a JSON file.

    Args:
        remedy: what to do about a file that cannot be used, for errors.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no JSON text, nested too deeply, too large, or a number in it is not finite.
    """
    try:
        content = parse_json(read_text(path))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}; {remedy}") from error
    return content


def parse_json(text: str) -> Any:
    """The content of a JSON text; ValueError, which says why, as of `read_json`."""
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep") from None
    _check(content)
    return content


def read_yaml(path: Path, remedy: str, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    """The content of a YAML file, as of `read_json`.

    Args:
        loader: what reads it.
    """
    try:
        content = parse_yaml(read_text(path), loader)
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path} is not valid YAML: {error}; {remedy}") from error
    return content


def parse_yaml(text: str, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    """The content of a YAML text; ValueError or yaml.YAMLError, which say why."""
    bound_yaml(text)
    content = yaml.load(text, loader)
    _check(content)
    return content


def bound_yaml(text: str) -> None:
    """Sees that a YAML text means no more than it says.

    Raises:
        yaml.YAMLError: it is no YAML, nested too deeply, refers to itself, or its aliases multiply.
    """
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        if node is not None and _values(node, {}) > MAX_VALUES:
            raise yaml.YAMLError(f"its aliases stand for more than {MAX_VALUES:,} values: write them out")
    except RecursionError:
        raise yaml.YAMLError(f"it is nested more than {MAX_DEPTH} deep") from None


def _values(node: yaml.Node, known: dict[int, int], depth: int = 0) -> int:
    """How many values a node stands for; one that stands within itself is nested without end."""
    if depth > MAX_DEPTH:
        raise RecursionError
    if id(node) not in known:
        parts = node.value if isinstance(node, yaml.SequenceNode | yaml.MappingNode) else []
        flat = [part for item in parts for part in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = 1 + sum(_values(part, known, depth + 1) for part in flat)
    return known[id(node)]


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no UTF-8 text or too large; says why, but not which file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES // 2**20} MiB")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeError as error:
        raise ValueError(f"it is no UTF-8 text ({error})") from error


def _check(content: Any) -> None:
    for where, value, depth in _leaves(content):
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{where} is {value}, which is no finite number")


def _leaves(content: Any) -> Iterator[tuple[str, Any, int]]:
    """Everything in a nested structure, with its place and how deep it is; without recursion."""
    waiting: list[tuple[str, Any, int]] = [("the content", content, 0)]
    while waiting:
        where, value, depth = waiting.pop()
        yield where, value, depth
        items: Any = ()
        if isinstance(value, Mapping):
            items = value.items()
        elif isinstance(value, list):
            items = enumerate(value)
        waiting += [(f"{name}", item, depth + 1) for name, item in items]


def perhaps(name: Any, known: Iterable[Any]) -> str:
    """What a name that is not known was meant to be, as the end of a refusal; nothing where none is near."""
    near = get_close_matches(str(name), [str(other) for other in known], 1)
    return f", perhaps {near[0]!r}" if near else ""
