"""Whether the comparison means anything: checks, missing measurements, people who do not exist."""

from __future__ import annotations

from collections.abc import Iterator

from experiments.report.analysis import Analysis
from experiments.report.document import Block, Checks, Text
from experiments.report.formats import name_of

TITLE = "May the comparison be believed?"
PUBLISHED = True
DOUBTFUL = (
    "A judge who passes is enough: one who fails beside them knows too little to lower the worst case. "
    "The figures show those who pass."
)
UNFINISHED = (
    "The study is not finished: {missing} of its measurements are missing, and what they would find is not "
    "on this page. They are of {points}."
)
PAINTED = (
    "The faces of this study are painted by a program, of people who do not exist: it shows how the "
    "defences and the attacks compare, not how many real people would be identified."
)


def blocks(analysis: Analysis) -> Iterator[Block]:
    yield Checks(analysis.checks)
    if failed := sorted({item.oracle for item in analysis.checks} - set(analysis.judges)):
        yield Text(f"{DOUBTFUL} Here they are {', '.join(analysis.judges)}, not {', '.join(failed)}.")
    if missing := analysis.results.missing:
        points = dict.fromkeys(name_of(stage["labels"]) for stage in missing)
        yield Text(UNFINISHED.format(missing=len(missing), points=", ".join(points)))
    if analysis.results.painted:
        yield Text(PAINTED)
