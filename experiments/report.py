"""Rebuild a study's tables, figures and page.

    python -m experiments.report --study DIR [--publish docs/results/NAME.md]

The page of a study on real people shows no face unless --faces says so; what --publish writes never does.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml

from experiments import page, publication, readable
from experiments.figures import Words, contact_sheets, curves
from experiments.findings import Findings, run_time, without_folders
from experiments.machine import made_with
from experiments.tables import gather

LICENSED = {"datamodules.SyntheticFaces", "datamodules.synthetic.SyntheticFaces"}
"""Data whose images may be shown to anybody."""


def write_tables(findings: Findings) -> None:
    """Write results.csv, summary.csv and comparison.csv."""
    tables = {
        "results.csv": findings.results.rows,
        "summary.csv": findings.summary,
        "comparison.csv": findings.comparison,
    }
    for name, frame in tables.items():
        frame.to_csv(findings.results.output / name, index=False)


def html(findings: Findings, drawn: dict[Path, Words], sheets: dict[Path, Words]) -> str:
    """The whole page."""
    results = findings.results
    output, best = results.output, results.best()
    config = yaml.safe_dump(without_folders(results.config), sort_keys=False, allow_unicode=True)
    sections = {
        "Question and answer": page.paragraph(readable.QUESTION) + page.paragraph(findings.answer, "answer"),
        "May the comparison be believed?": page.verdicts(
            (item.text, item.passed) for item in findings.checks
        ),
        "The worst case of every defence": page.paragraph(readable.WORST)
        + page.table(readable.worst_cases(findings.summary))
        + page.download(output / "summary.csv"),
        "Privacy against utility": page.paragraph(readable.CURVES) + page.figures(drawn),
        "What the attacker sees": page.figures(sheets),
        "Against undefended, on the same images": page.paragraph(readable.PAIRED)
        + page.table(readable.changes(findings.comparison))
        + page.download(output / "comparison.csv"),
        "Every attack": page.paragraph(readable.COLUMNS)
        + page.table(readable.attacks(best))
        + page.download(output / "results.csv"),
        "Threat model": page.paragraph(readable.THREAT),
        "Configuration": page.paragraph(f"Seed {results.config['seed']}. {made_with()}.")
        + page.folded("The study's configuration", page.preformatted(config)),
        "Run time": page.folded("Seconds and megabytes of every stage", page.table(run_time(results))),
    }
    if not sheets:
        del sections["What the attacker sees"]
    return page.page(f"Study {results.config['name']}", sections)


def build(output: Path, show_faces: bool, publish: Path | None = None) -> Path:
    """Write the tables, figures/ and report.html of the study in `output`; returns the page's path.

    Args:
        output: the study's folder.
        show_faces: draw contact sheets of the private faces and their reconstructions.
        publish: also write a Markdown page without any face here, its figures in a folder beside it.

    Raises:
        ValueError: `publish` is not called *.md.
        FileNotFoundError: nothing has been measured yet.
    """
    if publish and publish.suffix != ".md":
        raise ValueError(f"--publish writes Markdown: name a file that ends in .md, not {publish}")
    findings = Findings.of(gather(output))
    write_tables(findings)
    folder = output / "figures"
    folder.mkdir(exist_ok=True)
    drawn = curves(findings.results, folder)
    sheets = contact_sheets(findings.results, folder) if show_faces else {}
    path = output / "report.html"
    path.write_text(html(findings, drawn, sheets))
    if publish:
        publication.publish(findings, drawn, publish)
    for item in findings.checks:
        if not item.passed:
            print(f"CHECK FAILED: {item.text}")
    return path


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--study", type=Path, required=True, help="the study's folder")
    parser.add_argument(
        "--faces", action="store_true", help="show faces although the data is not known to allow it"
    )
    parser.add_argument(
        "--publish", type=Path, metavar="FILE.md", help="also write a Markdown page without any face"
    )
    options = parser.parse_args(args)
    try:
        allowed = yaml.safe_load((options.study / "study.yaml").read_text())["data"]["class_path"] in LICENSED
        print(build(options.study, options.faces or allowed, options.publish))
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
