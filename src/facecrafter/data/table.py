"""Labelled pictures before they are split: names, identities and binary attributes."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .refusals import quoted

Text = NDArray[np.object_]
"""A column of strings (an object array: ``column == "x"`` is a mask)."""


def text(values: Sequence[str] | Text) -> Text:
    """Strings as a column."""
    column = np.empty(len(values), dtype=object)
    column[:] = list(values)
    return column


@dataclass(frozen=True)
class FaceTable:
    """One row per labelled picture, sorted by name, every name once.

    ``image`` (N,) names a picture below its root with forward slashes, ``identity`` (N,) its person,
    ``attributes`` (N, A) uint8 is 1 where the attribute of ``attribute_names`` is present.
    """

    image: Text
    identity: Text
    attributes: NDArray[np.uint8]
    attribute_names: tuple[str, ...]

    @classmethod
    def of(
        cls,
        source: str,
        image: Sequence[str],
        identity: Sequence[str],
        attributes: NDArray[np.uint8],
        attribute_names: Sequence[str],
    ) -> FaceTable:
        """Sort the rows that ``source`` (named in errors) lists; refuse none at all and any name that comes
        twice."""
        if not image:
            raise ValueError(f"{source}: lists no pictures")
        repeated = [name for name, count in Counter(image).items() if count > 1]
        if repeated:
            raise ValueError(
                f"{source}: {quoted(repeated[0])} is listed more than once: keep one row per picture"
            )
        order = np.argsort(text(image))
        return cls(text(image)[order], text(identity)[order], attributes[order], tuple(attribute_names))


def find_columns(source: str, names: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Positions of the ``wanted`` attributes among ``names``.

    Raises ValueError naming the first that ``source`` does not have, with the closest spelling.
    """
    for name in wanted:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
            raise ValueError(
                f"{source}: no attribute {name!r}; did you mean {quoted(close[0])}?"
                if close
                else f"{source}: no attribute {name!r}: the file has no attributes"
            )
    if len(set(wanted)) != len(wanted) or not wanted:
        raise ValueError(
            f"{source}: attributes must name at least one attribute, each once, not {list(wanted)}"
        )
    return [names.index(name) for name in wanted]
