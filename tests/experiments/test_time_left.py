"""The time left that a study shows, against schedules by hand and against what recorded studies took."""

from __future__ import annotations

import math

import pytest

from experiments.study.carry_out import space
from experiments.study.time_left import HABIT, MOST, Pace, Timed, makespan


def test_a_stage_starts_when_what_it_builds_on_is_done_and_a_job_is_free() -> None:
    """By hand, with two jobs: a and b run until 3 and 5; c waits for b, d and e for nothing but a job.

    The longest chain takes 7 and all work shared by two 8, but no schedule in this order takes less than 9.
    """
    left = {"a": 3.0, "b": 5.0, "c": 2.0, "d": 2.0, "e": 4.0}
    after = {"a": set(), "b": {"done before"}, "c": {"b"}, "d": set(), "e": set()}
    # job 1: a 0-3, d 3-5, c 5-7; job 2: b 0-5, e 5-9
    assert makespan(left, after, list(left), jobs=2) == 9.0
    assert makespan(left, after, list(left), jobs=1) == 16.0
    assert makespan(left, after, list(left), jobs=9) == 7.0
    assert makespan({}, {}, [], jobs=2) == 0.0


def test_a_stage_is_judged_by_its_own_kind_first() -> None:
    """Training may take twice as long as expected here where attacks take what was expected."""
    pace = Pace([Timed("fit", 1000, 2000, 0.0), Timed("attack", 1000, 1000, 0.0)])
    assert pace.of("fit") == pytest.approx(2.0, rel=0.02)
    assert pace.of("attack") == pytest.approx(1.0, rel=0.02)
    assert pace.of("measure") == pytest.approx(1.5, rel=0.02), "unseen: as all others"


def test_one_short_stage_says_little() -> None:
    """A second's work that waited for somebody else's for a minute would make a week of a day."""
    assert Pace([Timed("data", 1, 60, 0.0)]).of("fit") == pytest.approx((60 + HABIT) / (1 + HABIT))
    assert Pace([Timed("data", 1, 10_000, 0.0)]).of("fit") == MOST
    assert Pace([]).of("fit") == 1.0
    assert Pace([Timed("unknown", 0, 1000, 0.0)]).of("fit") == 1.0, "nobody knew how long it would take"


def test_what_runs_counts_as_far_as_it_is() -> None:
    """A quarter of 80 expected seconds took 40: the rest is believed to take as long as the bar says by and
    by, and others of its kind twice as long as was thought."""
    running = Timed("fit", 80, 40, 120)
    pace = Pace([running])
    assert pace.of("fit") == pytest.approx((40 + HABIT * (40 + HABIT) / (20 + HABIT)) / (20 + HABIT))
    believed = 80 * pace.of("fit") - 40
    assert pace.left(running) == pytest.approx(0.75 * believed + 0.25 * 120)
    assert pace.left(Timed("fit", 0, 40, 120)) == 120, "nothing but its bar is known of it"
    overdue = Timed("fit", 80, 240)
    assert Pace([overdue]).of("fit") > 2, "not over yet, it took three times as long already"


def test_disk_that_nobody_knows_is_not_nothing() -> None:
    """A study that takes 40 GB said 0 MB before its stages were tried."""
    assert space([None, None]) == "disk unknown"
    assert space([12.0, None]) == "at least 12 MB"
    assert space([12.0, 0.4]) == "12 MB"
    assert space([0.2, 0.1]) == "<1 MB"
    assert space([]) == "0 MB"


# The demo: what was guessed of its stages, and the CPU seconds that they took in one run (of trainings in
# proportion to their epochs).
RECORDED = {
    # name: kind, builds on, guessed, taken
    "data": ("data", "", 0, 8.1),
    "target": ("target", "data", 24, 25.2),
    "prior": ("prior", "data", 72, 80.8),
    "decoder": ("decoder", "target", 60, 40.7),
    "classifier": ("classifier", "data", 42, 46.7),
    "none": ("none", "target", 3, 2.6),
    **{f"crafter.{n}": ("crafter", "target prior", 45, 56.9) for n in "123"},
    **{f"{n}.white": ("white", f"{n} prior", 15, 15.4) for n in ("none", *(f"crafter.{i}" for i in "123"))},
    **{f"{n}.black": ("black", f"{n} decoder", 1.2, 0.9) for n in ("none", *(f"crafter.{i}" for i in "123"))},
}
RECORDED |= {
    f"{n}.measure": ("measure", f"{n} classifier", 3.6, 3.2)
    for n in RECORDED
    if n.endswith(("white", "black"))
}
WITH_BAR = {"target", "prior", "decoder", "classifier", "crafter", "white"}
JOBS = 2


def carried_out(slower: float) -> dict[str, tuple[float, float]]:
    """Start and end of each stage on a machine that takes so many times the seconds, in that order."""
    ends: dict[str, float] = {}
    found: dict[str, tuple[float, float]] = {}
    free = [0.0] * JOBS
    while len(found) < len(RECORDED):
        now = min(free)
        ready = [
            name
            for name, (_, after, _, _) in RECORDED.items()
            if name not in found and all(ends.get(other, math.inf) <= now for other in after.split())
        ]
        if not ready:
            free[free.index(now)] = min(end for end in ends.values() if end > now)
            continue
        ends[ready[0]] = now + slower * RECORDED[ready[0]][3]
        found[ready[0]] = (now, ends[ready[0]])
        free[free.index(now)] = ends[ready[0]]
    return found


def estimate(times: dict[str, tuple[float, float]], now: float) -> float:
    """What the study would say then."""
    seen, left = [], {}
    for name, (start, end) in times.items():
        kind, _, guessed, _ = RECORDED[name]
        if end <= now:
            seen.append(Timed(kind, guessed, end - start, 0.0))
        elif start < now:
            left[name] = Timed(kind, guessed, now - start, end - now if kind in WITH_BAR else None)
        else:
            left[name] = Timed(kind, guessed)
    pace = Pace([*seen, *(stage for stage in left.values() if stage.taken)])
    after = {name: RECORDED[name][1].split() for name in left}
    return makespan({name: pace.left(stage) for name, stage in left.items()}, after, list(left), JOBS)


@pytest.mark.parametrize("slower", [0.3, 1.0, 1.5, 3.0])
def test_after_a_minute_the_time_left_is_right_within_a_third(slower: float) -> None:
    """Of the demo as it was recorded, also on machines faster and slower than the guesses are for; the last
    half minute, which nobody plans with, is left out."""
    times = carried_out(slower)
    total = max(end for _, end in times.values())
    first = min(60, int(total / 3))
    shown = {now: estimate(times, now) / (total - now) for now in range(first, int(total) - 30, 10)}
    assert shown
    assert {now: ratio for now, ratio in shown.items() if not 2 / 3 <= ratio <= 4 / 3} == {}
