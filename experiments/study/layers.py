"""YAML files that extend each other: which they are, in which order, and what they say together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from facecrafter.documents import perhaps, read_yaml

CONFIGS = Path(__file__).parents[1] / "configs"
STANDARD = CONFIGS / "scenarios" / "standard.yaml"
"""What `attacks: standard` stands for; it lies over what a file extends, and under what else that says.

It takes the place of all attacks and identifications there, and of queries and fits that have its names: of
what whoever defends has chosen (`against`, epochs, widths) nothing is left."""


class Layer(NamedTuple):
    """A file and its content, `extends` taken out."""

    file: Path
    content: Any


class Loader(yaml.SafeLoader):
    """Reads 1e-5 as a number, as everything but YAML 1.1 does, and refuses a key that stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {twice!r} stands twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read(path: Path) -> Any:
    """The content of a YAML file, laid over that of the files it `extends`; see layers."""
    return combined(layers(path))


def combined(found: Sequence[Layer]) -> Any:
    """What the files say together, the last over the others."""
    return reduce(_laid, found[1:], found[0].content)


def layers(path: Path) -> list[Layer]:
    """A YAML file, last, and before it those it `extends`: one or a list, in its own folder or in `CONFIGS`.

    `attacks: standard` extends `STANDARD`, after those. A later one goes over an earlier one. A file that is
    reached in several ways counts once, where it is reached first, so that what stands over it there stays.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file is not YAML, or extends itself.
    """
    found: dict[Path, Layer] = {}
    _collect(path, (), found)
    return list(found.values())


def overlay(base: Any, over: Any) -> Any:
    """`over` in place of `base`, but mappings are merged; a key whose value is null is left out."""
    if not isinstance(base, Mapping) or not isinstance(over, Mapping):
        return over
    merged = {name: overlay(base.get(name), value) for name, value in over.items() if value is not None}
    return {**{name: value for name, value in base.items() if name not in over}, **merged}


def _laid(below: Any, layer: Layer) -> Any:
    """What the files up to `layer` say, `below` being what those before it say."""
    if layer.file == STANDARD and isinstance(below, Mapping):
        below = {**below, **{kind: {} for kind in ("attacks", "identifications")}}
        for kind in ("queries", "fits"):
            if isinstance(entries := below.get(kind), Mapping):
                below[kind] = {name: one for name, one in entries.items() if name not in layer.content[kind]}
    return overlay(below, layer.content)


def idle_nulls(found: Sequence[Layer]) -> list[str]:
    """A sentence for each key that a file sets to null, to take it away, and that no file before it has."""
    below, mistakes = found[0].content, []
    for layer in found[1:]:
        mistakes += [
            f"{layer.file}: {path} is null, which takes a key away, but no file that it extends has that key "
            "(in an entry that is `like` another: there, and not in the entry that it is like)"
            for path in _absent(below, layer.content)
        ]
        below = _laid(below, layer)
    return mistakes


def _absent(base: Any, over: Any, where: str = "") -> Iterator[str]:
    """The places of nulls in `over` where the mapping that they lie on has no such key."""
    if not isinstance(base, Mapping) or not isinstance(over, Mapping):
        return
    for name, value in over.items():
        place = f"{where}.{name}" if where else str(name)
        if value is None and name not in base:
            yield place
        elif value is not None:
            yield from _absent(base.get(name), value, place)


def alike(content: Any, sections: Sequence[str], where: Path) -> Any:
    """`content` with `like: NAME` replaced in the entries of `sections` by what the entry NAME there says.

    The entry's own keys lie over those, as those of a file lie over the one that it extends.

    Raises:
        ValueError: there is no such entry, or entries are like each other in a circle.
    """
    if not isinstance(content, Mapping):
        return content
    return {
        kind: {name: _like(entries, name, f"{where}: {kind}") for name in entries}
        if kind in sections and isinstance(entries, Mapping)
        else entries
        for kind, entries in content.items()
    }


def _like(entries: Mapping[Any, Any], name: Any, where: str, above: tuple[Any, ...] = ()) -> Any:
    """The entry `name`, laid over what it is like. `above` are those that are like it."""
    entry = entries[name]
    if not isinstance(entry, Mapping) or "like" not in entry:
        return entry
    model = entry["like"]
    if model not in list(entries):
        hint = perhaps(model, entries)
        raise ValueError(f"{where}.{name}.like is {model!r}, which is none of {list(entries)}{hint}")
    if model in (above := (*above, name)):
        raise ValueError(f"{where}: " + " is like ".join(map(str, (*above, model))))
    own = {key: value for key, value in entry.items() if key != "like"}
    known = _like(entries, model, where, above)
    if idle := next(_absent(known, own), None):
        raise ValueError(
            f"{where}.{name}: {idle} is null, which takes a key away, but {model} has no such key"
        )
    return overlay(known, own)


def _collect(path: Path, above: tuple[Path, ...], found: dict[Path, Layer]) -> None:
    """Adds to `found` the files that `path` extends, then itself. `above` are those that led here."""
    if path.resolve() in found:
        return
    if not path.is_file():
        reason = f"{above[-1]} extends it" if above else "see experiments/configs/ for examples"
        raise FileNotFoundError(f"{path}: no such study configuration; {reason}")
    if path.resolve() in [other.resolve() for other in above]:
        raise ValueError(" extends ".join(map(str, (*above, path))) + ": a file cannot extend itself")
    content = read_yaml(path, "see experiments/configs/ for examples", Loader)
    if isinstance(content, Mapping) and "extends" in content:
        bases = content["extends"] if isinstance(content["extends"], list) else [content["extends"]]
        if other := [base for base in bases if not isinstance(base, str) or not base]:
            raise ValueError(f"{path}: extends is {other[0]!r}, but should be a file or a list of files")
        for base in bases:
            own, shipped = path.parent / base, CONFIGS / base
            _collect(shipped if shipped.is_file() and not own.exists() else own, (*above, path), found)
        content = {name: value for name, value in content.items() if name != "extends"}
    if isinstance(content, Mapping) and content.get("attacks") == "standard":
        _collect(STANDARD, (*above, path), found)
        content = {name: value for name, value in content.items() if name != "attacks"}
    found[path.resolve()] = Layer(path, content)
