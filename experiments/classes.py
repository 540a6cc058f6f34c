"""Classes named in configurations: imported, and their arguments checked, before any work starts."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from facecrafter.documents import perhaps
from lightning_modules.defences.base import Defence

T = TypeVar("T")
REFUSED = re.compile(r"Problem with given class_path '([\w.]+)':\s+Option '([\w.]+)' is not accepted")
"""How jsonargparse says that a class has no such argument."""
REFUSED_HERE = re.compile(r"Group 'x' does not accept option '([\w.]+)'")
"""The same of the class whose arguments are `complete`d."""
HERE = re.compile(r"\bx\.(?=[A-Za-z_])")
"""What `parser_of` has before the names of arguments."""


def import_class(class_path: Any, where: str, kind: type[T] = object) -> type[T]:  # type: ignore[assignment]
    """Import `package.module.Class`, which nothing has been done with yet.

    Args:
        class_path: as a configuration has it.
        where: its place there, for errors.
        kind: what it has to be derived from. The constructor of some other class may do anything.

    Raises:
        ValueError: naming `where`, if it cannot be imported, or is no such class.
    """
    if not isinstance(class_path, str) or not all(part.isidentifier() for part in class_path.split(".")):
        raise ValueError(f"{where}: {class_path!r} is no import path; write package.module.Class")
    module, _, name = class_path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{where}: cannot import {class_path!r} ({error}); "
            "check the spelling, and that PYTHONPATH names its folder"
        ) from error
    if not isinstance(found, type):
        raise ValueError(f"{where}: {class_path!r} is not a class")
    if not issubclass(found, kind):
        raise ValueError(f"{where}: {class_path!r} is no {kind.__name__}; name a class derived from it")
    return found


def complete(
    found: type, init_args: Mapping[str, Any], where: str, given: Iterable[str] = ()
) -> dict[str, Any]:
    """All of a class's arguments, defaults included.

    Args:
        given: arguments that the program passes itself, such as networks.

    Raises:
        ValueError: an argument is unknown, missing or of the wrong type.
    """
    _refuse_missing(found, init_args, where, given)
    parser, names = parser_of(found, frozenset(given))
    if not names:
        if init_args:
            raise ValueError(f"{where}: {found.__name__} takes no arguments, but got {sorted(init_args)}")
        return {}
    try:
        parsed = parser.parse_object({"x": dict(init_args)})
    except ArgumentError as error:
        message = with_near_names(str(error))
        if unknown := REFUSED_HERE.fullmatch(message):
            message = f"Option {unknown[1]!r} is not accepted{_nearest(unknown[1], found, given)}"
        message = HERE.sub("", message)
        raise ValueError(f"{where}: {found.__name__} refuses its arguments: {message}") from error
    return Namespace(parsed).x.as_dict()


def _refuse_missing(found: type, init_args: Mapping[str, Any], where: str, given: Iterable[str]) -> None:
    """Arguments without a type, of which the parser would make None."""
    known = {*init_args, *given}
    for name, item in inspect.signature(found).parameters.items():
        if item.kind in (item.VAR_POSITIONAL, item.VAR_KEYWORD):
            continue
        if item.default is item.empty and item.annotation is item.empty and name not in known:
            raise ValueError(f"{where}: {found.__name__} needs {name!r}: name it in its section")


@functools.cache
def parser_of(found: type, given: frozenset[str] = frozenset()) -> tuple[ArgumentParser, list[str]]:
    """A parser of a class's arguments under "x", and their names; those `given` are left out.

    Kept, since it takes longer to make than to use, and a plan asks for the same few hundreds of times.
    """
    parser = ArgumentParser(exit_on_error=False)
    names = parser.add_class_arguments(found, "x", skip=set(given), fail_untyped=False)
    return parser, [name.removeprefix("x.") for name in names]


def with_near_names(message: str) -> str:
    """What jsonargparse says, where a class has no such argument with the near one, and all that it has."""

    def told(refused: re.Match[str]) -> str:
        return f"{refused[0]}{_nearest(refused[2], import_class(refused[1], 'class_path'))}"

    return REFUSED.sub(told, message)


def _nearest(name: str, found: type, given: Iterable[str] = ()) -> str:
    return nearest(name, parser_of(found, frozenset(given))[1], found)


def nearest(name: str, known: Sequence[str], found: type) -> str:
    """Beside an argument that the class `found` has not: the one that was meant, perhaps, and all `known`."""
    return f"{perhaps(name, known)}; {found.__name__} takes {', '.join(known)}"


def without_private(config: Any) -> Any:
    """A configuration with paths cut down to their last part, and no `secret`: both are nobody else's
    business, and whoever has a defence's secret undoes it."""
    if isinstance(config, dict):
        return {name: without_private(value) for name, value in config.items() if name != "secret"}
    if isinstance(config, list):
        return [without_private(value) for value in config]
    is_path = isinstance(config, str) and "/" in config and not config.startswith("${")
    return Path(config).name if is_path else config


def draws_anew(model: Mapping[str, Any]) -> bool:
    """Whether the defence of this class_path and init_args says that it draws anew for every query.

    Raises:
        ValueError: it cannot be imported, so nobody knows.
    """
    found = import_class(model["class_path"], "the defence", Defence)
    return found.is_randomised(model.get("init_args") or {})
