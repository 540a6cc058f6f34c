"""One point of a sweep: a study of one defence at one setting, reported to Weights & Biases.

    python -m experiments.sweep_point --config STUDY.yaml --defence crafter --output DIR \\
        --beta=0.5 --iterations=24 --solver.init_args.damping=35

`wandb agent` runs this for experiments/configs/sweep.yaml. Every other argument sets an init arg of the
defence, in place of its strengths. All points share DIR, so the networks are trained and the undefended
features attacked only once; one point runs in it at a time. What is started by hand stays offline.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import wandb
import yaml

from experiments.errors import ends_in_sentences
from experiments.report.sections.question import AFFORDABLE
from experiments.study import carry_out
from experiments.study.config import StudyConfig, load
from experiments.wandb_summary import NUMBERS_ONLY
from facecrafter.files import for_owner_alone, write_whole

AGENTS = ("WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_RUN_ID")
"""What the agent says of this run, and not of those of the study's stages."""


def settings(arguments: Sequence[str]) -> dict[str, Any]:
    """{'beta': 0.5} from ['--beta=0.5'].

    Raises:
        ValueError: an argument is no --NAME=VALUE.
    """
    found = {}
    for argument in arguments:
        name, equals, value = argument.removeprefix("--").partition("=")
        if not (argument.startswith("--") and equals):
            raise ValueError(f"{argument}: set an init arg of the defence as --NAME=VALUE")
        found[name] = _parsed(value)
    return found


def _parsed(value: str) -> Any:
    try:
        return json.loads(value)  # 1e-05, which is no number in YAML
    except ValueError:
        return yaml.safe_load(value)


def at(config: StudyConfig, defence: str, changes: dict[str, Any]) -> dict[str, Any]:
    """The study of `defence` alone with these init args; 'solver.init_args.damping' is one within others.

    Raises:
        ValueError: the study has no such defence to protect with.
    """
    content = config.resolved()
    known = content["defences"]
    if defence == "none" or defence not in known:
        raise ValueError(f"--defence {defence}: the study's are {sorted(known.keys() - {'none'})}")
    swept = known[defence] | {"strengths": {}}
    for name, value in changes.items():
        *outer, last = name.split(".")
        arguments = swept["model"].setdefault("init_args", {})
        for part in outer:
            arguments = arguments.setdefault(part, {})
        arguments[last] = value
    return content | {"defences": {"none": known["none"], defence: swept}}


def figures(summary: pd.DataFrame, defence: str) -> dict[str, float]:
    """The worst case and the utility of the point, and both as one figure for a search to minimise.

    `affordable_eval_acc` is the worst case where the mean AUC falls by no more than `AFFORDABLE`, else 1.
    """
    lines = summary.set_index("defence")
    line, undefended = lines.loc[defence], lines.loc["none"]
    names = ("worst_eval_acc", "worst_eval_acc_lo", "worst_eval_acc_hi", "auc")
    loss = float(undefended["auc"] - line["auc"])
    return {
        **{name: float(line[name]) for name in names},
        "auc_loss": loss,
        "affordable_eval_acc": float(line["worst_eval_acc"]) if loss <= AFFORDABLE else 1.0,
    }


def run(options: argparse.Namespace, changes: dict[str, Any]) -> None:
    """Carry out the study and report its figures; what is done in the folder is not done again."""
    content = at(load(options.config), options.defence, changes)
    path = options.output / "sweep_point.yaml"
    write_whole(path, yaml.safe_dump(content, sort_keys=False))
    # The agent brings project, configuration and mode along.
    given = {} if "WANDB_SWEEP_ID" in os.environ else {"config": changes, "mode": "offline"}
    with wandb.init(dir=str(options.output), settings=wandb.Settings(**NUMBERS_ONLY), **given) as point:
        for name in AGENTS:
            os.environ.pop(name, None)
        if code := carry_out.run(path, options.output):
            sys.exit(code)
        point.log(figures(pd.read_csv(options.output / "summary.csv"), options.defence))


@for_owner_alone()
@ends_in_sentences
def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config", type=Path, required=True, help="the study's YAML")
    parser.add_argument("--defence", default="crafter", help="the one to set (default: crafter)")
    parser.add_argument("--output", type=Path, required=True, help="the folder that all points share")
    options, rest = parser.parse_known_args(args)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the study's stages are ended too
    run(options, settings(rest))


if __name__ == "__main__":
    main()
