"""Classes named in configurations: imported, and their arguments checked, before any work starts."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from lightning_modules.defences.base import Defence

T = TypeVar("T")


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
    parser = ArgumentParser(exit_on_error=False)
    names = parser.add_class_arguments(found, "x", skip=set(given), fail_untyped=False)
    if not names:
        if init_args:
            raise ValueError(f"{where}: {found.__name__} takes no arguments, but got {sorted(init_args)}")
        return {}
    try:
        parsed = parser.parse_object({"x": dict(init_args)})
    except ArgumentError as error:
        raise ValueError(f"{where}: {found.__name__} refuses its arguments: {error}") from error
    return Namespace(parsed).x.as_dict()


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
