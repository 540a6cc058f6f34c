"""JSON with blanks: questions that are filled in, and answers in which a value is looked up."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any


def filled(template: Any, **values: str) -> Any:
    """A copy of `template` with the values in place of `{name}`."""
    if isinstance(template, Mapping):
        return {name: filled(item, **values) for name, item in template.items()}
    if isinstance(template, list):
        return [filled(item, **values) for item in template]
    if isinstance(template, str):
        return re.sub(r"\{(\w+)\}", lambda blank: values.get(blank[1], blank[0]), template)
    return template


def at(answer: Any, path: Sequence[str]) -> Any:
    """What is at `path` in an answer; ValueError where nothing is."""
    for name in path:
        try:
            answer = answer[int(name)] if isinstance(answer, list) else answer[name]
        except (KeyError, IndexError, TypeError, ValueError):
            raise ValueError(f"there is no {'.'.join(path)}") from None
    return answer


def listed(found: Any) -> list[Any]:
    """`found`, if it is a list; else ValueError."""
    if not isinstance(found, list):
        raise ValueError(f"{type(found).__name__} in place of a list")
    return found


def number(found: Any) -> float:
    """`found`, if it is a finite number; else ValueError."""
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        raise ValueError(f"{str(found)[:40]!r} is no finite number")
    return float(found)
