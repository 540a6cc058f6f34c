"""Whether the comparison means anything: checks, missing measurements, people who do not exist."""

from __future__ import annotations

from collections.abc import Iterator

from experiments.report import names
from experiments.report.analysis import Analysis
from experiments.report.document import Block, Checks, Text
from experiments.report.formats import name_of

TITLE = "May the comparison be believed?"
PUBLISHED = True
DOUBTFUL = (
    "One judge who passes all checks is enough. A judge who fails knows too little to lower the worst case. "
    "The figures show the judges who pass."
)
UNFINISHED = (
    "The study is not finished: {missing} of its measurements are missing. This page cannot say what they "
    "would find. They are of {points}."
)
PAINTED = (
    "The faces of this study are painted by a program and show people who do not exist. The study shows how "
    "defences and attacks compare. It does not show how many real people would be identified."
)


def blocks(analysis: Analysis) -> Iterator[Block]:
    yield Checks(analysis.checks)
    if failed := sorted({item.oracle for item in analysis.checks} - set(analysis.judges)):
        passed, not_passed = (", ".join(map(names.judge, some)) for some in (analysis.judges, failed))
        yield Text(f"{DOUBTFUL} Here these are {passed}, not {not_passed}.")
    if missing := analysis.results.missing:
        points = dict.fromkeys(name_of(stage["labels"]) for stage in missing)
        yield Text(UNFINISHED.format(missing=len(missing), points=", ".join(points)))
    if analysis.results.painted:
        yield Text(PAINTED)
