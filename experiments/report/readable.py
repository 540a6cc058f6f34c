"""Tables as people read them: worst cases, rankings, attacks."""

from __future__ import annotations

import pandas as pd

from experiments.report.cells import (
    decimal,
    filled,
    intervals,
    named,
    p_value,
    percentage,
    points_of_change,
    small,
    trials,
)
from experiments.report.results import percent, trial

LIKENESS = {
    "FSIM": "fsim",
    "SSIM": "ssim",
    "MS-SSIM": "ms_ssim",
    "PSNR": "psnr",
    "LPIPS": "lpips",
    "Fréchet": "frechet",
}
EPSILON = {"ε": "epsilon", "ε of the prior": "epsilon_null"}


def worst_cases(summary: pd.DataFrame, protection: pd.DataFrame) -> pd.DataFrame:
    """Of `summary.csv`, and of each worst case against the undefended one."""
    table = named(summary).assign(
        **{
            "mean AUC": intervals(summary, "auc", decimal),
            "AUC lost": _lost(summary),
            "identified by the worst attack": intervals(summary, "worst_eval_acc", percent),
            "worst attack": [_worst(line) for line in summary.to_dict("records")],
            "judge": summary["worst_oracle"].fillna(""),
        }
    )
    if len(protection):
        verdicts = named(protection).assign(
            **{"change against undefended": points_of_change(protection), "leak": protection["verdict"]}
        )
        table = table.merge(verdicts, on="defence", how="left")
    if (summary["not_faced"] != "").any():
        table["not attacked by"] = summary["not_faced"]
    table["false security"] = summary["false_security"].map({True: "yes", False: "no"})
    return filled(table)


def _lost(summary: pd.DataFrame) -> list[str]:
    """What each point costs against no defence."""
    undefended = summary.loc[summary["defence"] == "none", "auc"]
    if undefended.empty:
        return [""] * len(summary)
    costs = undefended.iloc[0] - summary["auc"]
    return [
        decimal(cost) if defence != "none" else ""
        for cost, defence in zip(costs, summary["defence"], strict=True)
    ]


def _worst(line: dict[str, object]) -> str:
    if pd.isna(line["worst_attack"]):
        return "nothing to attack"
    return trial({"attack": line["worst_attack"], "epoch": line["worst_epoch"]})


def standings(table: pd.DataFrame) -> pd.DataFrame:
    """Of `ranking.standings`."""
    undecided = table["pairs"] - table["less"] - table["more"]
    return pd.DataFrame(
        {
            "defence": table["defence"],
            "and": table["other_defence"],
            "pairs at equal utility": table["pairs"],
            "the first leaks less in": table["less"],
            "the second in": table["more"],
            "no difference shown in": undecided,
            "shown to be better": table["better"].replace("", "neither"),
        }
    )


def pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Of `ranking.versus`: two points in a line."""
    other = table[["other_defence", "other_strength"]].set_axis(["defence", "strength"], axis=1)
    return named(table).assign(
        **{
            "mean AUC": table["auc"].map(decimal),
            "identified": table["worst_eval_acc"].map(percent),
            "the other": named(other)["defence"],
            "its mean AUC": table["other_auc"].map(decimal),
            "it identified": table["other_worst_eval_acc"].map(percent),
            "change": points_of_change(table),
            "p (Holm)": table["p_holm"].map(p_value),
            "the first one's leak": table["verdict"],
        }
    )


def ladder(table: pd.DataFrame) -> pd.DataFrame:
    """Of `evidence.ladder`."""
    named = {"lower": "weaker: not comparable", "higher": "stronger"}
    shown = pd.DataFrame(
        {
            "attack": trials(table),
            "attacker has": table["access"].map({"white": "the encoder", "black": "answers only"}),
            "adapts": table["adaptive"].replace("none", "no"),
            "judge": table["oracle"],
            "identified, undefended": intervals(table, "eval_acc", percent),
            "times chance (lower bound)": table["times_chance"].map("{:.1f}".format),
            "against white_box": table["verdict"].replace(named),
        }
    )
    return filled(shown)


def changes(comparison: pd.DataFrame) -> pd.DataFrame:
    """Of `comparison.csv`."""
    return named(comparison).assign(
        **{
            "attack": trials(comparison),
            "judge": comparison["oracle"],
            "images": comparison["n_images"],
            "change in percentage points": points_of_change(comparison),
            "share that is left": intervals(comparison, "left", percent),
            "p (Holm)": comparison["p_holm"].map(p_value),
            "Eval Acc": comparison["verdict"],
        }
    )


def attacks(best: pd.DataFrame) -> pd.DataFrame:
    """Of `Results.best`."""
    rows = best.reindex(columns=best.columns.union([*LIKENESS.values(), *EPSILON.values()], sort=False))
    table = named(rows).assign(
        **{
            "attack": rows["trial"],
            "judge": rows["oracle"],
            "Eval Acc": intervals(rows, "eval_acc", percent),
            "top 5": rows["top5"].map(percentage),
            "verified at 1%": intervals(rows, "tar_at_far_1", percent),
            "clean images": rows["clean_acc"].map(percentage),
            "mean AUC": intervals(rows, "auc", decimal),
            **{name: rows[column].map(decimal) for name, column in LIKENESS.items()},
            **{name: rows[column].map(small) for name, column in EPSILON.items()},
        }
    )
    return filled(table)
