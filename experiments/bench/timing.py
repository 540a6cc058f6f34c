"""What the benches share: a stopwatch that knows its device and moves a bar, and how rows become tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

Row = dict[str, Any]
Action = Callable[[], Any]
Times = dict[str, list[float]]  # seconds of every call, by action


@dataclass(frozen=True)
class Stopwatch:
    """Times calls on a device.

    Args:
        bar: moved by the work of every call, in units of its total.
        device: where the calls compute; a GPU is waited for before and after each.
    """

    bar: tqdm
    device: torch.device

    def seconds(self, action: Action, work: float = 1) -> float:
        """How long one call takes."""
        self._wait()
        started = time.perf_counter()
        action()
        self._wait()
        taken = time.perf_counter() - started
        self.bar.update(work)
        return taken

    def in_turns(self, actions: dict[str, Action], repeats: int, work: float = 1) -> Times:
        """So many calls of each, after a first one that is not counted.

        They take turns, so that a machine that is busy for a while slows down all of them alike.
        """
        rounds = [
            {name: self.seconds(action, work) for name, action in actions.items()} for _ in range(repeats + 1)
        ]
        return {name: [taken[name] for taken in rounds[1:]] for name in actions}

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def tables(rows: Iterable[Row]) -> Iterator[str]:
    """The rows as text: a table for each case, under what all of its rows share, then its explanations."""
    for (case, *_), group in groupby(rows, key=lambda row: (row["case"], *row)):
        table = pd.DataFrame(group).drop(columns="case").dropna(axis="columns", how="all")
        notes = table.pop("explanation").dropna() if "explanation" in table else []
        shared = [name for name, column in table.items() if len(table) > 1 and column.nunique() == 1]
        yield ", ".join([case, *(f"{name} {table[name].iloc[0]}" for name in shared)])
        yield table.drop(columns=shared).to_string(index=False, na_rep="", float_format="{:.3g}".format)
        yield from sorted(notes)
        yield ""
