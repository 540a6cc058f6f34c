"""Sections on what else was measured: attributes, ε, the defence's own computation."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from experiments.report import evidence
from experiments.report import readable_measures as readable
from experiments.report.document import Block, Figures, Folded, Items, Table, Text
from experiments.report.figures.attributes import attribute_plots
from experiments.report.figures.epsilon import consistency_plots, of_one_attack, sample_size_plots
from experiments.report.figures.health import stationarity_plots
from experiments.report.material import Material
from experiments.report.solver_health import health as health_table
from experiments.report.solver_health import iteration_logs, warnings

ATTRIBUTES = (
    "The mean hides which attributes a defence costs. AUC of each attribute, read from the protected "
    "features by the same network as without a defence; the number of images that have the attribute says "
    "how far to trust it. Attributes near 0.5 cannot be read even undefended."
)
EPSILON = (
    "ε is the distance between what an attacker sees and average faces: the theory's measure of how much "
    "personal information is left. If it measures that, attacks that identify more and resemble the "
    "originals more have a larger ε. Intervals are over defences and strengths. The dashed line is what "
    "two sets of average faces give; at or below it, ε finds no personal information."
)
SAMPLE_SIZE = (
    "ε falls with the number of images it is computed from, as the null does. Neither value means much "
    "alone: what counts is whether the curves part from the dashed one."
)
HEALTH = (
    "Crafter differentiates through the simulated attacker's best response. That is only right if the "
    "response is one, and if a linear system is solved well enough; both were measured while it ran. "
    "Slope at z*: 0 would be a best response. Residual: what the solver left over. The gradient, and the "
    "share of the inversion loss that could still go, are compared with near-exact ones on a few images, "
    "now and then."
)
HEALTHY = "Every check passed: the gradient was within 5% of a near-exact one, and the response was settled."


def attributes(material: Material) -> Iterator[Block]:
    """The AUC of each attribute under each defence."""
    table = evidence.attributes(material.results)
    if len(table):
        yield Text(ATTRIBUTES)
        yield Figures(attribute_plots(table, material.folder))
        yield Folded("All attributes and defences", [Table(readable.attributes(table), "attributes", table)])


def epsilon(material: Material) -> Iterator[Block]:
    """ε against what it should go with, and over the number of images."""
    findings, folder = material.findings, material.folder
    points = evidence.consistency(findings.best, findings.judge) if findings.judges else pd.DataFrame()
    if len(points):
        relations = evidence.correlations(points)
        above = int((points["epsilon"] > points["epsilon_null"]).sum())
        yield Text(f"{EPSILON} Here {above} of {len(points)} points lie above it.")
        yield Table(readable.relations(relations), "epsilon-correlations", relations)
        yield Figures(consistency_plots(points, relations, findings.judge, folder))
    curves = evidence.epsilon_curves(material.results)
    if len(curves):
        drawn = Figures(sample_size_plots(of_one_attack(curves), folder))
        table = Table(readable.sample_sizes(curves), "epsilon", curves)
        yield Folded("ε over the number of images", [Text(SAMPLE_SIZE), drawn, table])


def health(material: Material) -> Iterator[Block]:
    """Whether the implicit gradient could be believed."""
    logs = iteration_logs(material.results)
    table = health_table(logs)
    if len(table):
        found = list(warnings(table))
        yield Text(HEALTH)
        yield Items(found, warning=True) if found else Text(HEALTHY)
        yield Table(readable.health(table), "health", table)
        yield Folded("Over the iterations", [Figures(stationarity_plots(logs, material.folder))])
