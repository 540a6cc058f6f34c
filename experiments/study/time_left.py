"""How long a study will take yet, from what its stages were expected to take and what they take here."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

SETTLED = 10.0
"""Seconds after which a progress bar knows how long its stage will take."""
HABIT = 15.0
"""Seconds of work that is thought to have taken as long as expected, beside all that was seen: a short stage
says little."""
MOST = 6.0
"""Times that stages are believed to take longer, or shorter, than expected."""


@dataclass(frozen=True)
class Timed:
    """A stage that is done or runs, or waits.

    Attributes:
        kind: the same for stages that run the same code.
        expected: seconds that it was expected to take; 0 where nobody knows.
        taken: seconds that it took, or has run for so far; 0 for one that waits.
        shown: seconds that are left as its progress bar says, None without one; 0 once it is done.
    """

    kind: str
    expected: float
    taken: float = 0.0
    shown: float | None = None

    @property
    def part(self) -> float:
        """How much of it is done, as its progress bar says; in [0, 1]."""
        return self.taken / (self.taken + self.shown) if self.shown is not None and self.taken else 0.0


class Pace:
    """How much longer stages take here than was expected: others may work on the machine, too.

    What a stage is judged by is first of all its own kind, then all others.
    """

    def __init__(self, stages: Iterable[Timed]) -> None:
        self._seen: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
        for stage in stages:
            for expected, taken in _comparable(stage):
                before = self._seen[stage.kind]
                self._seen[stage.kind] = before[0] + expected, before[1] + taken
        expected = sum(seen[0] for seen in self._seen.values())
        taken = sum(seen[1] for seen in self._seen.values())
        # Among other stages' seconds those of HABIT hardly count; alone, they keep one odd stage from
        # deciding.
        self._all = min(MOST, max(1 / MOST, (taken + HABIT) / (expected + HABIT)))

    def of(self, kind: str) -> float:
        """By how much to multiply what a stage of this kind is expected to take."""
        expected, taken = self._seen.get(kind, (0.0, 0.0))
        return (taken + HABIT * self._all) / (expected + HABIT)

    def left(self, stage: Timed) -> float:
        """Seconds that a stage takes yet: as expected at first, and more and more as its own bar says."""
        believed = max(0.0, stage.expected * self.of(stage.kind) - stage.taken)
        if stage.shown is None:
            return believed
        return (1 - stage.part) * believed + stage.part * stage.shown if stage.expected else stage.shown


def _comparable(stage: Timed) -> Iterator[tuple[float, float]]:
    """Seconds that what is done of a stage was expected to take, and took; none where that says nothing."""
    if not stage.expected:
        return
    if stage.shown == 0 or (stage.shown is not None and stage.taken > SETTLED):
        yield stage.expected * stage.part, stage.taken
    elif stage.taken > stage.expected:  # and it is not over
        yield stage.expected, stage.taken


def makespan(
    left: Mapping[str, float], after: Mapping[str, Collection[str]], order: Sequence[str], jobs: int
) -> float:
    """Seconds until all is done, where each stage starts as soon as what it builds on is done and a job free.

    Args:
        left: seconds that each stage takes yet.
        after: the stages that each builds on; those that are not in `left` are done.
        order: which of the stages that could start does: those that run, then those that wait.
        jobs: stages at the same time.
    """
    place = {name: number for number, name in enumerate(order)}
    missing = {name: {other for other in after[name] if other in left} for name in order}
    following = defaultdict(list)
    for name, others in missing.items():
        for other in others:
            following[other].append(name)
    # Played through as the runner would: a queue of what is ready, and a clock that jumps to the next end.
    ready = [place[name] for name in order if not missing[name]]
    running: list[tuple[float, str]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < jobs:
            name = order[heapq.heappop(ready)]
            heapq.heappush(running, (now + left[name], name))
        now, name = heapq.heappop(running)
        for other in following[name]:
            missing[other].discard(name)
            if not missing[other]:
                heapq.heappush(ready, place[other])
    return now
