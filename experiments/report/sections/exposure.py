"""What private images or features in the attacker's hands are worth to them."""

from __future__ import annotations

from collections.abc import Iterator

from experiments.report.analysis import Analysis
from experiments.report.document import Block, Table, Text
from experiments.report.formats import readable_gains

TITLE = "When private data has leaked"
EXPOSURE = (
    "Some of the private people's own pictures, or their features with names, are in the attacker's "
    "hands. A feature classifier makes no image: it names a person straight from the feature, and is its "
    "own judge."
)


def blocks(analysis: Analysis) -> Iterator[Block]:
    table = analysis.gains[analysis.gains["adaptive"] == "exposure"]
    if len(table):
        yield Text(EXPOSURE)
        yield Table(readable_gains(table), "exposure", table)
