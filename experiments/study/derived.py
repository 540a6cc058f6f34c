"""What a module shares with its data: filled in where it is left out, checked where it is given.

A module's parameters `image_size`, `n_outputs` (the attributes) and `n_identities` (the people of the role
it is fitted with) say what the data is like. A class that means something else by one of these names, or the
same by another, says so: its static method `sizes_from_data(init_args)` returns {parameter: number}, where
the number is one that `FaceDataModule.sizes` knows; that goes before the meanings given here. `init_args`
are those that the configuration gives.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from jsonargparse import Namespace
from pytorch_lightning import LightningDataModule, LightningModule

from experiments.classes import import_class, parser_of

PEOPLE = {"private_train": "n_private_identities", "public": "n_public_identities"}
"""Whom a module learns that is fitted with a role."""
KINDS = {
    "image_size": "pictures of {} pixels",
    "n_attributes": "{} attributes",
    "n_private_identities": "{} private people",
    "n_public_identities": "{} public people",
}


def derived(
    found: type, init_args: Mapping[str, Any], data: LightningDataModule, where: str
) -> dict[str, Any]:
    """`init_args` of the class `found` with what the data knows filled in.

    Args:
        data: what the module is fitted with; not yet prepared, so that no picture is decoded.
        where: the section of the configuration, for errors.

    Raises:
        ValueError: a number that was given by hand is not the data's.
    """
    _, names = parser_of(found)
    meanings = {"image_size": "image_size", "n_outputs": "n_attributes"}
    if (role := getattr(data, "fit_role", None)) in list(PEOPLE):
        meanings["n_identities"] = PEOPLE[role]
    meanings |= getattr(found, "sizes_from_data", lambda init_args: {})(init_args)
    asked = {name: number for name, number in meanings.items() if name in names}
    faces = _faces(data)
    if not asked or faces is None:
        return dict(init_args)
    sizes = faces.sizes()
    for name, number in asked.items():
        given = init_args.get(name)
        # Copies of pictures are found when they are decoded; with them, people may be dropped.
        is_certain = number not in PEOPLE.values() or faces.duplicates == "error"
        if isinstance(given, int) and given != sizes[number] and is_certain:
            raise ValueError(
                f"{where}.init_args.{name}: {given} is given, but the data has "
                f"{KINDS[number].format(sizes[number])}; leave {name} out"
            )
    given = {name: value for name, value in init_args.items() if name not in asked or value is not None}
    return {**{name: sizes[number] for name, number in asked.items()}, **given}


def fill_in(model: Namespace, data: LightningDataModule) -> None:
    """Add to the `init_args` of `model`, a section of a fit's configuration, what `data` knows.

    Raises:
        ValueError: see derived.
    """
    found = import_class(model.class_path, "model", LightningModule)
    # The parser has put the class's defaults in already: such a value was not given.
    defaults = {name: item.default for name, item in inspect.signature(found).parameters.items()}
    init_args = model.get("init_args") or Namespace()
    given = {
        name: value for name, value in vars(init_args).items() if value not in (None, defaults.get(name))
    }
    for name, value in derived(found, given, data, "model").items():
        init_args[name] = value
    model.init_args = init_args


def _faces(data: Any) -> Any:
    """The face data that `data` is or wraps, None if there is none."""
    while data is not None and not hasattr(data, "sizes"):
        data = getattr(data, "data", None)
    return data
