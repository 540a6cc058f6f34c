"""The stages that average several queries of the same images, for whoever reads more than one (A3)."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.study.config import Averaging
from experiments.study.keys import Stage, references


def countermeasures(averaging: Averaging | None) -> Sequence[str]:
    """What the user does, one after the other, against whoever averages so; `none` where nobody does."""
    return averaging.countermeasures if averaging else ["none"]


def what_is_read(
    defence: str, asked: Sequence[str], averaging: Averaging | None, countermeasure: str, seed: int
) -> tuple[list[Stage], str]:
    """The stages that make what an attacker reads, and the reference to its store.

    Args:
        defence: the stage that made the defence.
        asked: references to the queries of the same images; whoever does not average reads the first one.
        averaging: how they are averaged.
        countermeasure: what the user does against it.
        seed: of the orders that the user shuffles into.
    """
    if averaging is None:
        return [], f"{asked[0]}/features"
    (first,) = references(asked[0])
    config = {
        "defence": f"${{{defence}}}",
        "features": [f"{query}/features" for query in asked],
        "countermeasure": countermeasure,
        "matching": averaging.matching,
        "seed": seed,
    }
    stage = Stage(f"{first}.{averaging.matching}-{len(asked)}.{countermeasure}", "average", config)
    return [stage], f"${{{stage.name}}}/features"
