"""A study's results as a Markdown page that may be published: without faces, people and absolute paths."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import yaml

from experiments import readable
from experiments.figures import Words
from experiments.findings import Findings, run_time, without_folders
from experiments.machine import made_with


def publish(findings: Findings, curves: Mapping[Path, Words], path: Path) -> None:
    """Write the page, and the curves into a folder of its name beside it."""
    folder = path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    for figure in curves:
        shutil.copy(figure, folder)
    path.write_text(markdown(findings, curves, folder.name))


def markdown(findings: Findings, curves: Mapping[Path, Words], folder: str) -> str:
    """The page, with its figures in `folder`."""
    results = findings.results
    checks = [f"- {'passed' if item.passed else '**FAILED**'}: {item.text}" for item in findings.checks]
    images = [f"![{words.alt}]({folder}/{figure.name})" for figure, words in curves.items()]
    config = yaml.safe_dump(without_folders(results.config), sort_keys=False, allow_unicode=True)
    blocks = [
        f"# {results.config['name']}",
        readable.QUESTION,
        f"**{findings.answer}**",
        readable.THREAT,
        "\n".join(checks),
        "## The worst case of every defence",
        readable.WORST,
        table(readable.worst_cases(findings.summary)),
        "## Privacy against utility",
        readable.CURVES,
        *images,
        "## Against undefended, on the same images",
        readable.PAIRED,
        table(readable.changes(findings.comparison)),
        "## Every attack",
        readable.COLUMNS,
        table(readable.attacks(results.best())),
        "## How it was run",
        f"Seed {results.config['seed']}; {made_with()}.",
        f"<details><summary>Configuration</summary>\n\n```yaml\n{config}```\n\n</details>",
        f"<details><summary>Run time</summary>\n\n{table(run_time(results))}\n\n</details>",
    ]
    return "\n\n".join(blocks) + "\n"


def table(frame: pd.DataFrame) -> str:
    """A Markdown table."""
    if frame.empty:
        return "Nothing to show."
    lines = [frame.columns, ["---"] * len(frame.columns), *frame.astype(str).to_numpy()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
