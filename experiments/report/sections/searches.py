"""What the attacks' settings were chosen from, and on whom."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from experiments.report.analysis import Analysis
from experiments.report.document import Block, Folded, Table, Text
from experiments.report.formats import percent

TITLE = "What was tried before"
PUBLISHED = True
SEARCH = (
    "The settings of {attacks} attacks were chosen for each defence, in {searches} searches among {settings} "
    "settings each. A setting was chosen by how many of {images} pictures of {people}public people it "
    "identifies from what that defence makes of them. No private picture was looked at."
)


def blocks(analysis: Analysis) -> Iterator[Block]:
    table = pd.DataFrame(list(_lines(analysis)))
    if len(table):
        yield Text(_told(table))
        shown = table.drop(columns="name").assign(identified=table["identified"].map(percent))
        yield Folded("The settings tried, and what each found", [Table(shown, "searches", table)])


def _told(table: pd.DataFrame) -> str:
    each = table.groupby("attack", sort=False)
    settings = sorted(set(each.size()))
    return SEARCH.format(
        attacks=table["name"].nunique(),
        searches=len(each),
        settings=settings[0] if len(settings) == 1 else f"{settings[0]} to {settings[-1]}",
        images=table["public images"].max(),
        people="" if table["public people"].isna().any() else f"{table['public people'].max()} ",
    )


def _lines(analysis: Analysis) -> Iterator[dict[str, object]]:
    results = analysis.results
    for stage in results.stages:
        if stage["command"] == "search":
            choice = results.chosen(stage["name"])
            attack = next(part for part in stage["name"].split(".") if part in results.config["attacks"])
            for name, found in choice["candidates"].items():
                chosen = "chosen" if name == choice["chosen"] else ""
                shown = {"attack": stage["name"].removesuffix(".search"), "setting": name, "": chosen}
                counts = {"public images": choice["images"], "public people": choice.get("people")}
                yield {"name": attack} | shown | counts | found
