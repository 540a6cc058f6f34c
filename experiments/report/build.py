"""Writes everything that a study's report consists of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from experiments.report import publication
from experiments.report.document import Section, Table
from experiments.report.findings import Findings
from experiments.report.material import Material
from experiments.report.page import page
from experiments.report.results import gather
from experiments.report.sections import sections
from experiments.report.worst_case import SUMMARY


def write_tables(findings: Findings) -> None:
    """Write results.csv, summary.csv, comparison.csv and ranking.csv."""
    tables = {
        "results": findings.results.rows,
        "summary": findings.summary.reindex(columns=SUMMARY),
        "comparison": findings.comparison,
        "ranking": findings.ranking,
    }
    for name, frame in tables.items():
        frame.to_csv(findings.results.output / f"{name}.csv", index=False)


def build(
    output: Path, show_faces: bool, publish: Path | None = None, other_seeds: Sequence[Path] = ()
) -> Path:
    """Write the tables, figures/ and report.html of the study in `output`; returns the page's path.

    Args:
        output: the study's folder.
        show_faces: draw contact sheets of the private faces and their reconstructions.
        publish: also write a Markdown page without any face here, its figures in a folder beside it.
        other_seeds: folders of studies that differ in their seed alone.

    Raises:
        ValueError: `publish` is not called *.md, or a seed is there twice.
        FileNotFoundError: nothing has been measured yet.
    """
    if publish and publish.suffix != ".md":
        raise ValueError(f"--publish writes Markdown: name a file that ends in .md, not {publish}")
    findings = Findings.of(gather(output))
    write_tables(findings)
    repetitions = tuple(gather(folder).rows for folder in other_seeds)
    figures = emptied(output / "figures", "*.png", "*.svg")
    written = sections(Material(findings, figures, show_faces, repetitions))
    write_more_tables(written, emptied(output / "tables", "*.csv"))
    path, title = output / "report.html", f"Study {findings.results.config['name']}"
    path.write_text(page(title, written))
    if publish:
        publication.publish(title, written, publish)
    for item in findings.checks:
        if not item.passed:
            print(f"CHECK FAILED: {item.text}")
    return path


def emptied(folder: Path, *patterns: str) -> Path:
    """The folder, without what an earlier report left there."""
    folder.mkdir(exist_ok=True)
    for pattern in patterns:
        for old in folder.glob(pattern):
            old.unlink()
    return folder


def write_more_tables(written: Iterable[Section], folder: Path) -> None:
    """Write the CSV of every table on the page."""
    for section in written:
        for block in section.every(Table):
            block.raw.to_csv(folder / f"{block.name}.csv", index=False)
