"""Sections on attackers who know the defence, or more than they should."""

from __future__ import annotations

from collections.abc import Iterator

from experiments.report import evidence
from experiments.report import readable_adaptive as readable
from experiments.report.document import Block, Figures, Folded, Table, Text
from experiments.report.figures.adaptive import epoch_curves
from experiments.report.material import Material

EXPOSED = "exposure"
GAINS = (
    "Each adaptive attack, at its best, against the strongest basic attack on the same defence: the "
    "change in percentage points on the same images, with 95% intervals, corrected (Holm) for the number "
    "of adaptive attacks on one defence at one strength. Where adapting finds more, the basic figures "
    "alone would have given false security."
)
EPOCHS = (
    "The attacker sends pictures of their own through the defence and goes on training on what comes out. "
    "A defence that only confuses a fixed attacker collapses here; epoch 0 is the basic attack. The best "
    "epoch, which counts as the worst case, is known to us and not to the attacker."
)
AVERAGING = (
    "A defence with randomness in it gives another feature every time; an attacker who sees the same "
    "picture several times can average them. Against that, the features can be shuffled at every query, "
    "or recorded, so that a picture always gives the same one. Plain averaging takes the features "
    "position by position; matched averaging first puts the shuffled ones back in order. Each cell: "
    "identified (95% interval), and whether that is lower or higher than the strongest basic attack on a "
    "single query, corrected (Holm)."
)
EXPOSURE = (
    "Some of the private people's own pictures, or their features with names, are in the attacker's "
    "hands. A feature classifier makes no image: it names a person straight from the feature, and is its "
    "own judge."
)


def gains(material: Material) -> Iterator[Block]:
    """Every adaptive attack against the strongest basic one."""
    found = material.findings.gains
    table = found[found["adaptive"] != EXPOSED]
    if len(table):
        yield Text(GAINS)
        yield Table(readable.gains(table), "adaptive", table)


def epoch_by_epoch(material: Material) -> Iterator[Block]:
    """A1: curves over epochs."""
    table = evidence.epochs(material.findings.best)
    if len(table):
        yield Text(EPOCHS)
        yield Figures(epoch_curves(table, material.findings.judge, material.folder))
        yield Folded("The same in numbers", [Table(readable.epochs(table), "epochs", table)])


def averaging(material: Material) -> Iterator[Block]:
    """A3: countermeasure by averaging."""
    table = evidence.countermeasures(material.findings.best, material.outcomes)
    if len(table):
        yield Text(AVERAGING)
        yield Table(readable.averaging(table), "averaging", table)


def exposure(material: Material) -> Iterator[Block]:
    """Private images or features known to the attacker."""
    found = material.findings.gains
    table = found[found["adaptive"] == EXPOSED]
    if len(table):
        yield Text(EXPOSURE)
        yield Table(readable.gains(table), "exposure", table)
