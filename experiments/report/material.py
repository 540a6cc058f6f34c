"""What a report is written from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from experiments.report.findings import Findings
from experiments.report.outcomes import Outcomes
from experiments.report.results import Results

LICENSED = {"datamodules.SyntheticFaces", "datamodules.synthetic.SyntheticFaces"}
"""Data whose images may be shown to anybody."""


@dataclass(frozen=True)
class Material:
    """A study's findings, and where and how they may be shown.

    Attributes:
        folder: receives the figures.
        faces: whether private faces and their reconstructions may be shown.
        other_seeds: results.csv of studies that differ from this one in their seed alone.
    """

    findings: Findings
    folder: Path
    faces: bool = False
    other_seeds: tuple[pd.DataFrame, ...] = ()

    @property
    def results(self) -> Results:
        return self.findings.results

    @property
    def painted(self) -> bool:
        """Whether the people of the study do not exist."""
        return self.results.config["data"]["class_path"] in LICENSED

    @property
    def acquainted(self) -> list[str]:
        """Defences whose f learned from the private people on whom its utility is measured."""
        if self.results.config["scenario"] != "deployment":
            return []
        roles = {name: fit["data"].get("fit_role") for name, fit in self.results.config["defences"].items()}
        return [name for name, role in roles.items() if role and "private_train" in role]

    @cached_property
    def outcomes(self) -> Outcomes:
        return Outcomes(self.results.per_image)
