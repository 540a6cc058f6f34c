"""Rebuild a study's tables, figures and page: `python -m experiments.report --study DIR`."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import yaml

from experiments import page
from experiments.figures import contact_sheets, curves
from experiments.tables import Check, Results, check, compare, gather, percent, summarise

LICENSED = {"datamodules.SyntheticFaces", "datamodules.synthetic.SyntheticFaces"}
"""Data whose images may be shown to anybody."""
PACKAGES = ("facecrafter", "torch", "torchvision", "pytorch-lightning", "torchmetrics", "pot")
QUESTION = (
    "How much of a face can an attacker reconstruct from the features, and what does protecting them cost?"
)
THREAT = (
    "The attacker intercepts the features, has photographs of other people, and wants to know who is in the "
    "picture. A white-box attacker also has the encoder; a black-box one can only query it. An oracle that "
    "knows the private people judges how often a reconstruction is identified (Eval Acc)."
)


def answer(summary: pd.DataFrame, comparison: pd.DataFrame, checks: list[Check]) -> str:
    """The study's finding in a sentence or two, no stronger than the numbers."""
    if not all(item.passed for item in checks):
        return "The comparison means nothing: a check failed, so a low Eval Acc may only show a weak attack."
    undefended = summary[summary["defence"] == "none"].iloc[0]
    base = (
        f"Undefended, the worst attack identifies {percent(undefended['worst_eval_acc'])} of the images "
        f"at a mean AUC of {undefended['auc']:.3f}."
    )
    lower = comparison[comparison["verdict"] == "lower"] if len(comparison) else comparison
    if lower.empty:
        return f"{base} No defence was shown to lower that."
    protected = summary[summary["defence"] != "none"]
    safest = protected.loc[protected["worst_eval_acc"].idxmin()]
    return (
        f"{base} The lowest worst case is that of {safest['defence']} {safest['strength']}: "
        f"{percent(safest['worst_eval_acc'])} (95% interval {percent(safest['worst_eval_acc_lo'])} to "
        f"{percent(safest['worst_eval_acc_hi'])}) at a mean AUC of {safest['auc']:.3f}, "
        f"a change of {safest['auc'] - undefended['auc']:+.3f}."
    )


def run_time(results: Results) -> pd.DataFrame:
    """Seconds and megabytes of every stage."""
    folders = [results.output / stage["folder"] for stage in results.stages]
    markers = [json.loads((folder / "stage.json").read_text()) for folder in folders]
    columns = ["stage", "seconds", "megabytes", "finished"]
    return pd.DataFrame(markers)[columns]


def machine() -> str:
    """Versions and processor of the machine that wrote the report."""
    versions = [f"{name} {version(name)}" for name in PACKAGES if _installed(name)]
    return ", ".join([f"Python {platform.python_version()}", *versions, platform.machine()])


def _installed(name: str) -> bool:
    try:
        version(name)
    except ModuleNotFoundError:
        return False
    return True


def build(output: Path, show_faces: bool) -> Path:
    """Write results.csv, summary.csv, comparison.csv, figures/ and report.html; returns the page's path."""
    results = gather(output)
    best = results.best()
    summary, comparison, checks = summarise(best), compare(results.per_image), check(best)
    tables = {"results.csv": results.rows, "summary.csv": summary, "comparison.csv": comparison}
    for name, frame in tables.items():
        frame.to_csv(output / name, index=False)
    folder = output / "figures"
    folder.mkdir(exist_ok=True)
    figures = curves(results, folder)
    if show_faces:
        figures |= contact_sheets(results, folder)
    shown = best[
        ["defence", "strength", "attack", "oracle", "eval_acc", "eval_acc_lo", "eval_acc_hi", "top5", "auc"]
    ]
    sections = {
        "Question and answer": page.paragraph(QUESTION)
        + page.paragraph(answer(summary, comparison, checks), "answer"),
        "Checks": page.verdicts((item.text, item.passed) for item in checks),
        "Worst case": page.table(summary) + page.download(output / "summary.csv"),
        "Privacy against utility": "".join(page.figure(path, text) for path, text in figures.items()),
        "Against none, on the same images": page.table(comparison) + page.download(output / "comparison.csv"),
        "Every attack": page.table(shown) + page.download(output / "results.csv"),
        "Threat model": page.paragraph(THREAT),
        "Configuration": page.paragraph(f"Seed {results.config['seed']}. {machine()}.")
        + page.preformatted(yaml.safe_dump(results.config, sort_keys=False)),
        "Run time": page.table(run_time(results)),
    }
    path = output / "report.html"
    path.write_text(page.page(f"Study {results.config['name']}", sections))
    for item in checks:
        if not item.passed:
            print(f"CHECK FAILED, the comparison means nothing: {item.text}")
    return path


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, required=True, help="the study's folder")
    parser.add_argument(
        "--faces", action="store_true", help="show faces although the data is not known to allow it"
    )
    options = parser.parse_args(args)
    try:
        allowed = yaml.safe_load((options.study / "study.yaml").read_text())["data"]["class_path"] in LICENSED
        print(build(options.study, options.faces or allowed))
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
