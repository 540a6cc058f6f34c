"""What is wrong with a study's configuration, as sentences: file, place, what was found, what is expected."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import ValidationError

from experiments.study.layers import Layer
from facecrafter.documents import perhaps

EXPECTED = {
    "int_type": "a whole number, such as 2",
    "float_type": "a number, such as 0.5",
    "bool_type": "true or false, without quotes",
    "string_type": 'text (in quotes where YAML reads something else: "2024", "off")',
    "string_too_short": "text that is not empty",
    "list_type": "a list, such as [1, 2]",
    "too_short": "a list of at least one value",
    "dict_type": "a mapping, such as {name: value}",
}
"""By pydantic's type of error; where none is given, its own words are good enough."""
Place = tuple[str | int, ...]


def sentences(error: ValidationError, kind: type, found: Sequence[Layer]) -> list[str]:
    """One for each mistake.

    Args:
        kind: the dataclass that was to be made.
        found: the files that its content comes from, the last one over the others.
    """
    return [_sentence(dict(item), kind, found) for item in error.errors(include_url=False)]


def path(place: Place) -> str:
    """('defences', 'noise', 'strengths', 'sigma', 0) -> 'defences.noise.strengths.sigma[0]'."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")


def _sentence(item: Mapping[str, Any], kind: type, found: Sequence[Layer]) -> str:
    place: Place = item["loc"]
    *outer, name = place or ("",)
    above = path(tuple(outer))
    prefix = f"{_file(place, found)}: " + (f"{above}: " if above else "")
    if item["type"] == "unexpected_keyword_argument":
        known = sorted(field.name for field in fields(_kind_at(kind, outer)))
        return f"{prefix}unknown key {name!r}{perhaps(name, known)}; the keys are {', '.join(known)}"
    if item["type"] == "missing":
        return f"{prefix}the key {name!r} is missing"
    if name == "[key]":
        *section, _ = outer
        where = f"{_file(place[:-2], found)}: " + path(tuple(section))
        return f"{where}: the name {item['input']!r} should be {_expected(item, kind, outer)}"
    shown = "empty" if item["input"] is None else _short(item["input"])
    return f"{_file(place, found)}: {path(place) or 'the study'} is {shown}, but should be " + _expected(
        item, kind, place
    )


def _expected(item: Mapping[str, Any], kind: type, place: Sequence[str | int]) -> str:
    if item["type"].startswith("dataclass"):
        keys = ", ".join(field.name for field in fields(_kind_at(kind, place)))
        return f"a mapping with some of the keys {keys}"
    return EXPECTED.get(item["type"]) or item["msg"].removeprefix("Input should be ")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _kind_at(kind: Any, place: Sequence[str | int]) -> type:
    """The dataclass that stands at `place` within the dataclass `kind`."""
    for part in place:
        kind = typing.get_type_hints(kind)[str(part)] if is_dataclass(kind) else typing.get_args(kind)[-1]
        if typing.get_origin(kind) not in (dict, list):
            # Averaging | None is the one optional section.
            kind = next((one for one in typing.get_args(kind) if is_dataclass(one)), kind)
    return kind


def _file(place: Place, found: Sequence[Layer]) -> str:
    """The last file that says something at `place`, or at the part of it that some file has."""
    for length in range(len(place), 0, -1):
        for layer in reversed(found):
            if _has(layer.content, place[:length]):
                return str(layer.file)
    return str(found[-1].file)


def _has(content: Any, place: Place) -> bool:
    for part in place:
        try:
            content = content[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True
