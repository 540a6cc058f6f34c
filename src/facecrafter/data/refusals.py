"""One error for all that is wrong with a data set, instead of one error a try."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

SHOWN = 10
"""How many of the affected are named."""
_LONGEST = 200
_MOST = 20_000
"""How many names are compared with another one: with millions it takes minutes."""


class Refusals:
    """What was found wrong: the first SHOWN sentences, and how many there are."""

    def __init__(self) -> None:
        self.count, self._first = 0, list[str]()

    def add(self, sentence: str) -> None:
        self.count += 1
        if len(self._first) < SHOWN:
            self._first.append(sentence)

    def __str__(self) -> str:
        more = f"; and {self.count - SHOWN} more" if self.count > SHOWN else ""
        return "; ".join(self._first) + more

    def check(self, what: str) -> None:
        """Raise ValueError if there are any; `what` says of how many of what, such as '{} of 9 pictures'."""
        if self.count:
            raise ValueError(str(self) if self.count == 1 else f"{what.format(self.count)}: {self}")


def quoted(name: str) -> str:
    """A name out of somebody's file, in quotes, its length bounded."""
    return repr(name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…")


def listed(names: Iterable[str], shown: int = SHOWN) -> str:
    """The first names, and how many more there are: 'a, b and 7 more'; 'nothing' if there are none."""
    names = list(names)
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    first = (name[: _LONGEST + 3].encode(errors="backslashreplace").decode() for name in names[:shown])
    return ", ".join(first) + more if names else "nothing"


def nearest(name: str, names: Iterable[str]) -> str:
    """' (did you mean X?)' for the closest of the names, '' where none is close."""
    some = list(islice(names, _MOST))
    close = difflib.get_close_matches(name[:_LONGEST], some, n=1, cutoff=0.6)
    return f" (did you mean {quoted(close[0])}?)" if close else ""
