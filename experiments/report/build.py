"""Writes everything that a study's report consists of."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from experiments.report.analysis import Analysis
from experiments.report.exports import Format, latex, refuse_what_cannot_be_written, write_table
from experiments.report.plotting import drawn_as_pdf_too
from experiments.report.publication import publish as publish_page
from experiments.report.rendering import html_page
from experiments.report.results import gather
from experiments.report.sections import write_sections
from facecrafter.files import for_owner_alone, make_folder, write_whole


def build(
    output: Path,
    show_faces: bool,
    publish: Path | None = None,
    other_seeds: Sequence[Path] = (),
    also: Collection[Format] = (),
) -> Path:
    """Write the tables, figures/ and report.html of the study in `output`; returns the page's path.

    Args:
        output: the study's folder.
        show_faces: draw contact sheets of the private faces and their reconstructions.
        publish: also write a short Markdown page without any face here, its figures in a folder beside it.
        other_seeds: folders of studies that differ in their seeds alone.
        also: formats beside CSV, PNG and SVG.

    Raises:
        ValueError: `publish` is not called *.md, a seed is there twice, or a format cannot be written.
        FileNotFoundError: nothing has been measured yet.
    """
    if publish and publish.suffix != ".md":
        raise ValueError(f"--publish writes Markdown: name a file that ends in .md, not {publish}")
    refuse_what_cannot_be_written(also)
    results, repetitions = gather(output), tuple(gather(folder) for folder in other_seeds)
    path, title = output / "report.html", f"Study {results.config['name']}"
    with for_owner_alone(), drawn_as_pdf_too("pdf" in also):
        figures = emptied(output / "figures", "*.png", "*.svg", "*.pdf")
        analysis = Analysis(results, figures, show_faces, repetitions)
        for name, raw in analysis.tables().items():
            write_table(output / name, raw, also)
        sections = list(write_sections(analysis))
        tables = emptied(output / "tables", "*.csv", "*.parquet", "*.tex")
        for table in (table for section in sections for table in section.tables()):
            write_table(tables / table.name, table.raw, also)
            if "latex" in also:
                write_whole(tables / f"{table.name}.tex", latex(table.readable))
        write_whole(path, html_page(title, sections))
    if publish:
        publish_page(title, sections, publish)
    for item in analysis.checks:
        if not item.passed:
            print(f"CHECK FAILED: {item.text}")
    return path


def emptied(folder: Path, *patterns: str) -> Path:
    """The folder, without what an earlier report left there."""
    make_folder(folder)
    for pattern in patterns:
        for old in folder.glob(pattern):
            old.unlink()
    return folder
