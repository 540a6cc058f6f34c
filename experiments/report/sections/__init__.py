"""The sections of the report, a file each: its words, its tables, its figures.

A section is a module with

    TITLE                       its heading
    blocks(analysis)            yields what is below it (see experiments.report.document), nothing where the
                                study has nothing to say; its figures go into `analysis.figures`

and, where they apply,

    PRIVATE = True              it shows people: it is never published
    PUBLISHED = True            it is also on the short page that --publish writes, without what is folded
    doubts(analysis)            yields sentences on what disagrees with the answer or with what was to be
                                expected; that page lists them
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from experiments.report.analysis import Analysis
from experiments.report.document import Section

ORDER = (
    "question",
    "believable",
    "threat_model",
    "worst_case",
    "floor",
    "judges",
    "unknown_tasks",
    "equal_utility",
    "adapting",
    "protected_training",
    "queries",
    "averaging",
    "exposure",
    "curves",
    "attack_strength",
    "flags",
    "searches",
    "contact_sheets",
    "against_none",
    "every_attack",
    "attributes",
    "epsilon",
    "solver_health",
    "seeds",
    "provenance",
)
"""The modules, in the order of the page."""


def write_sections(analysis: Analysis) -> Iterator[Section]:
    """Every section that has something to say."""
    for name in ORDER:
        module = import_module(f"{__name__}.{name}")
        if blocks := list(module.blocks(analysis)):
            yield Section(
                module.TITLE,
                blocks,
                private=getattr(module, "PRIVATE", False),
                published=getattr(module, "PUBLISHED", False),
                doubts=list(module.doubts(analysis)) if hasattr(module, "doubts") else [],
            )
