"""What follows from a study's results, computed once for all sections of the report."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from experiments.report.results import Results
from experiments.report.statistics.checks import READERS, Check, believed, check
from experiments.report.statistics.judges import verdicts
from experiments.report.statistics.paired_tests import Outcomes
from experiments.report.statistics.ranking import against_none, ranking, strengths
from experiments.report.statistics.worst_case import (
    SUMMARY,
    adaptive_gains,
    candidates,
    compare,
    summarise,
)


@dataclass(frozen=True)
class Analysis:
    """A study's results, what follows from them, and how they may be shown.

    Attributes:
        figures: the folder that receives the drawings.
        faces: whether private faces and their reconstructions may be shown.
        other_seeds: studies that differ from this one in their seeds alone.
    """

    results: Results
    figures: Path
    faces: bool = False
    other_seeds: tuple[Results, ...] = ()

    @cached_property
    def every(self) -> pd.DataFrame:
        """See `Results.best`: by every judge."""
        return self.results.best()

    @cached_property
    def best(self) -> pd.DataFrame:
        """`every`, without judges who cannot be believed where others can: what they name too often
        undefended would look like protection."""
        return self._believed(self.every)

    @cached_property
    def outcomes(self) -> Outcomes:
        """Who was identified by which attack, image by image."""
        return Outcomes(self._believed(self.results.per_image))

    def _believed(self, lines: pd.DataFrame) -> pd.DataFrame:
        return lines[lines["oracle"].isin([*self.judges, *READERS])]

    @cached_property
    def checks(self) -> list[Check]:
        """What has to hold for the rest to mean anything."""
        return check(self.every)

    @cached_property
    def gains(self) -> pd.DataFrame:
        """Every adaptive attack against the strongest basic one."""
        return adaptive_gains(self.best, self.outcomes)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """The worst case of every defence and strength."""
        repeating = [name for name, draws in self.results.drawing.items() if not draws]
        return summarise(self.best, self.gains, self.results.acquainted, repeating)

    @cached_property
    def protection(self) -> pd.DataFrame:
        """Each point against the undefended one."""
        return against_none(self.summary, self.outcomes)

    @cached_property
    def comparison(self) -> pd.DataFrame:
        """Each point against the undefended one, attack by attack, on the same images."""
        return compare(self.best, self.outcomes)

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """What each judge alone says of each point."""
        return verdicts(self.every, self.results.per_image, self.judges)

    @cached_property
    def ranking(self) -> pd.DataFrame:
        """Defences against each other at equal utility."""
        return ranking(self.summary, self.outcomes)

    @cached_property
    def strengths(self) -> pd.DataFrame:
        """The strengths of each defence against each other."""
        return strengths(self.summary, self.outcomes)

    @property
    def judge(self) -> str:
        """The oracle that finds most undefended images, of those that may be believed."""
        rows = self.best[self.best["oracle"].isin(self.judges)]
        undefended = candidates(rows[rows["defence"] == "none"])
        found = undefended if len(undefended) else rows
        return str(found.loc[found["eval_acc"].idxmax(), "oracle"])

    @property
    def reference(self) -> pd.Series:
        """A row of that judge's: how often clean images are identified, among how many people, the floor."""
        return self.best[self.best["oracle"] == self.judge].iloc[0]

    @property
    def judges(self) -> list[str]:
        """The oracles that may be believed; all of them where none may; none before anything is judged."""
        oracles = list(dict.fromkeys(item.oracle for item in self.checks))
        return [name for name in oracles if name in believed(self.checks)] or oracles

    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables of the study's folder, by name."""
        return {
            "results": self.results.rows,
            "summary": self.summary.reindex(columns=SUMMARY),
            "comparison": self.comparison,
            "ranking": self.ranking,
        }
