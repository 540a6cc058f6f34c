"""What a report says in words, and its tables as people read them: intervals beside values, percentages."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from experiments.tables import percent

QUESTION = (
    "How often can an attacker who intercepts the features tell who is in the picture, and what does "
    "preventing that cost?"
)
WORST = (
    "Eval Acc is the share of the reconstructed images that a judge who knows the private people identifies "
    "as the right one; the worst case is the attack and the judge that find most. Mean AUC says how well the "
    "attributes can still be read from the features. In brackets: 95% intervals."
)
CURVES = (
    "Each point is one strength of a defence, with 95% intervals; the ideal corner is bottom right. Dotted: "
    "chance. Dashed: how often the judge identifies the clean photographs."
)
PAIRED = (
    "The change of Eval Acc against no defence, image by image, and the share of the undefended Eval Acc "
    "that is left, with 95% intervals over people."
)
COLUMNS = (
    "Top 5: the right person is among the judge's first five. Verified: share of the reconstructions that "
    "pass for their own person at a threshold that lets 1% of the wrong ones pass; without knowledge it "
    "would be 1% too. FSIM: cosine of the judge's embeddings of the reconstruction and of the original; "
    "SSIM, MS-SSIM, PSNR and LPIPS compare the two images. Fréchet: distance between the judge's embeddings "
    "of all reconstructions and of all originals, too large by what few images cost. ε: how far the "
    "reconstructions are from average faces; without personal information it would be near the prior's own."
)
THREAT = (
    "The attacker intercepts the features, has photographs of other people, and wants to know who is in the "
    "picture. A white-box attacker also has the encoder; a black-box one can only query it."
)

LIKENESS = {
    "FSIM": "fsim",
    "SSIM": "ssim",
    "MS-SSIM": "ms_ssim",
    "PSNR": "psnr",
    "LPIPS": "lpips",
    "Fréchet": "frechet",
}
EPSILON = {"ε": "epsilon", "ε of the prior": "epsilon_null"}


def worst_cases(summary: pd.DataFrame) -> pd.DataFrame:
    """Of `summary.csv`."""
    table = _points(summary).assign(
        **{
            "mean AUC": summary["auc"].map(_decimal),
            "identified by the worst attack": _intervals(summary, "worst_eval_acc", percent),
            "worst attack": summary["worst_attack"],
            "judge": summary["worst_oracle"],
        }
    )
    if summary["false_security"].notna().any():
        table["false security"] = summary["false_security"].map({True: "yes", False: "no"}).fillna("")
    return table


def changes(comparison: pd.DataFrame) -> pd.DataFrame:
    """Of `comparison.csv`."""
    if comparison.empty:
        return comparison
    return _points(comparison).assign(
        **{
            "attack": comparison["attack"],
            "judge": comparison["oracle"],
            "images": comparison["n_images"],
            "change in percentage points": [
                f"{100 * line.change:+.1f} ({100 * line.lo:+.1f} to {100 * line.hi:+.1f})"
                for line in comparison.itertuples()
            ],
            "share that is left": _intervals(comparison, "left", percent),
            "Eval Acc": comparison["verdict"],
        }
    )


def attacks(rows: pd.DataFrame) -> pd.DataFrame:
    """Of the `best` rows of `results.csv`. Columns that are empty throughout are left out."""
    table = _points(rows).assign(
        **{
            "attack": rows["attack"],
            "judge": rows["oracle"],
            "Eval Acc": _intervals(rows, "eval_acc", percent),
            "top 5": rows["top5"].map(percent),
            "verified at 1%": _intervals(rows, "tar_at_far_1", percent),
            "clean images": rows["clean_acc"].map(percent),
            "mean AUC": _intervals(rows, "auc", _decimal),
            **{name: rows[column].map(_decimal) for name, column in LIKENESS.items()},
            **{name: rows[column].map(_small) for name, column in EPSILON.items()},
        }
    )
    return table.loc[:, (table != "").any()]


def _points(table: pd.DataFrame) -> pd.DataFrame:
    """Who protects, and how much, as the first column."""
    names = table["defence"].replace("none", "undefended") + " " + table["strength"]
    return pd.DataFrame({"defence": names.str.strip()})


def _intervals(table: pd.DataFrame, name: str, show: Callable[[float], str]) -> list[str]:
    """`value (low to high)`; nothing where there is no value."""
    columns = [name, f"{name}_lo", f"{name}_hi"]
    lines = table[columns].astype(float).itertuples(index=False)
    return ["" if pd.isna(line[0]) else "{} ({} to {})".format(*map(show, line)) for line in lines]


def _decimal(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.3f}"


def _small(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.5f}"
