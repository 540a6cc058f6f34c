"""What the answer itself gives away: the floor of every attack, and whether features can be linked."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from experiments.evaluation import answers, unlinkability
from experiments.report.analysis import Analysis
from experiments.report.document import Block, Table, Text
from experiments.report.formats import decimal, filled, intervals, name_of, named, percent, percentage
from experiments.report.results import POINT
from experiments.report.statistics.floor import FIGURES, WITHIN
from facecrafter.metrics import fano

TITLE = "What the answer itself gives away"
PUBLISHED = True
FLOOR = (
    "Anybody who asks f learns its answers, and answers tell people apart. Here the answers are compared "
    "with known photographs of everybody, by a comparison learned on public people. The floor is how often "
    "they name the right person. No defence that keeps the answers can bring this comparison below the "
    f"floor. 'Protected to the floor': the upper bound of the worst case is at most {100 * WITHIN:g} "
    "percentage points above the floor. 'Near the floor': the worst case is, but its upper bound is not. "
    "'Not shown': undefended, the strongest attack exceeds the floor by less than its interval can resolve."
)
BITS = (
    "By the model behind this comparison, f's answers to raw features tell {bits} about who it is. This is "
    "no bound. It is too high where the model is overconfident, and too low where Gaussians do not describe "
    "the answers. "
)
FANO = (
    "If this figure were exact, nobody could name more than {limits}, whatever the comparison (Fano's "
    "inequality)."
)
ENOUGH = "If this figure were exact, it would be enough to tell a million people apart."
PROVED = (
    "'Proved: at most' bounds the share of the pictures whose person any attacker can name from the features "
    "of one picture at a time, whatever they try and however often they ask. It holds because a feature "
    "holds one of a few words and nothing else of the face."
)
LINKS = (
    "Linkability (ISO/IEC 24745): whether two features tell that they are of the same person, by their "
    "cosine and by f's answers to them. 'By lot' assigns people at random. It shows how much linkability so "
    "few pairs give where there is nothing to link."
)


def blocks(analysis: Analysis) -> Iterator[Block]:
    summary = analysis.summary.reindex(
        columns=[*POINT, "n_identities", *FIGURES, "floor_note", "against_floor"]
    )
    told = summary[summary[FIGURES].notna().any(axis=1) | summary["floor_note"].notna()]
    if told.empty:
        return
    yield Text(FLOOR)
    yield from _bits(told)
    if told[answers.PROVED.name].notna().any():
        yield Text(PROVED)
    if told["d_sys"].notna().any() or told["d_sys_answers"].notna().any():
        yield Text(LINKS)
    yield Table(_readable(told), "floor", told)
    for note, lines in told.groupby("floor_note", sort=False):
        yield Text(f"Not available for {', '.join(name_of(line) for _, line in lines.iterrows())}: {note}.")


def _bits(summary: pd.DataFrame) -> Iterator[Text]:
    """What the answers of the undefended f, or else of the first, say of who it is."""
    known = summary[summary[answers.BITS.name].notna()]
    if known.empty:
        return
    line = known.sort_values("defence", key=lambda names: names != "none", kind="stable").iloc[0]
    bits, people = float(line[answers.BITS.name]), int(line["n_identities"])
    shares = {f"{people} people by these answers": fano(bits, people), "a million": fano(bits, 1_000_000)}
    limits = [f"{percent(share)} of {whom}" for whom, share in shares.items() if share < 1]
    told = FANO.format(limits=", or ".join(limits)) if limits else ENOUGH
    yield Text(BITS.format(bits=f"{bits:.1f} bits") + told)


def _readable(told: pd.DataFrame) -> pd.DataFrame:
    shares = {column.title: intervals(told, column.name, percent) for column in answers.SHARES}
    bound = {answers.PROVED.title: [percentage(share) for share in told[answers.PROVED.name]]}
    links = {
        column.title: intervals(told, column.name, decimal)
        if column.interval
        else [decimal(value) for value in told[column.name].astype(float)]
        for column in unlinkability.COLUMNS
    }
    return filled(named(told).assign(**shares, **{"worst case": told["against_floor"]}, **bound, **links))
