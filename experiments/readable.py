"""Tables as people read them: intervals beside values, percentages, no column that is empty throughout."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from experiments.evidence import LIKENESS as AGAINST_EPSILON
from experiments.evidence import relation
from experiments.tables import name_of, percent, trial

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
    table = _points(summary).assign(
        **{
            "mean AUC": intervals(summary, "auc", _decimal),
            "AUC lost": _lost(summary),
            "identified by the worst attack": intervals(summary, "worst_eval_acc", percent),
            "worst attack": [_worst(line) for line in summary.to_dict("records")],
            "judge": summary["worst_oracle"].fillna(""),
        }
    )
    if len(protection):
        verdicts = _points(protection).assign(
            **{"change against undefended": points_of_change(protection), "leak": protection["verdict"]}
        )
        table = table.merge(verdicts, on="defence", how="left")
    table["false security"] = summary["false_security"].map({True: "yes", False: "no"})
    return filled(table)


def _lost(summary: pd.DataFrame) -> list[str]:
    """What each point costs against no defence."""
    undefended = summary.loc[summary["defence"] == "none", "auc"]
    if undefended.empty:
        return [""] * len(summary)
    costs = undefended.iloc[0] - summary["auc"]
    return [
        _decimal(cost) if defence != "none" else ""
        for cost, defence in zip(costs, summary["defence"], strict=True)
    ]


def _worst(line: dict[str, object]) -> str:
    if pd.isna(line["worst_attack"]):
        return "nothing to attack"
    return trial({"attack": line["worst_attack"], "epoch": line["worst_epoch"]})


def gains(table: pd.DataFrame) -> pd.DataFrame:
    """Of `worst_case.adaptive_gains`."""
    return _points(table).assign(
        **{
            "adaptive attack": _trials(table),
            "judge": table["oracle"],
            "identified": intervals(table, "eval_acc", percent),
            "strongest basic attack": table["basic_attack"],
            "it identified": table["basic_eval_acc"].map(percent),
            "change": points_of_change(table),
            "adapting finds": table["verdict"].replace({"higher": "more", "lower": "less"}),
        }
    )


def ladder(table: pd.DataFrame) -> pd.DataFrame:
    """Of `evidence.ladder`."""
    named = {"lower": "weaker: not comparable", "higher": "stronger"}
    shown = pd.DataFrame(
        {
            "attack": _trials(table),
            "attacker has": table["access"].map({"white": "the encoder", "black": "answers only"}),
            "adapts": table["adaptive"].replace("none", "no"),
            "judge": table["oracle"],
            "identified, undefended": intervals(table, "eval_acc", percent),
            "times chance (lower bound)": table["times_chance"].map("{:.1f}".format),
            "against white_box": table["verdict"].replace(named),
        }
    )
    return filled(shown)


def standings(table: pd.DataFrame) -> pd.DataFrame:
    """Of `ranking.standings`."""
    names = [table[column].replace("none", "undefended") for column in ("defence", "other_defence")]
    undecided = table["pairs"] - table["less"] - table["more"]
    return pd.DataFrame(
        {
            "defence": names[0],
            "and": names[1],
            "pairs at equal utility": table["pairs"],
            "the first leaks less in": table["less"],
            "the second in": table["more"],
            "no difference shown in": undecided,
            "shown to be better": table["better"].replace({"": "neither", "none": "undefended"}),
        }
    )


def pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Of `ranking.versus`: two points in a line."""
    other = table[["other_defence", "other_strength"]].set_axis(["defence", "strength"], axis=1)
    return _points(table).assign(
        **{
            "mean AUC": table["auc"].map(_decimal),
            "identified": table["worst_eval_acc"].map(percent),
            "the other": _points(other)["defence"],
            "its mean AUC": table["other_auc"].map(_decimal),
            "it identified": table["other_worst_eval_acc"].map(percent),
            "change": points_of_change(table),
            "p (Holm)": table["p_holm"].map(_p_value),
            "the first one's leak": table["verdict"],
        }
    )


def averaging(table: pd.DataFrame) -> pd.DataFrame:
    """Of `evidence.countermeasures`: per defence, averaging and judge, one column per countermeasure."""
    found = intervals(table, "eval_acc", percent)
    cells = [f"{cell}, {verdict}" for cell, verdict in zip(found, table["verdict"], strict=True)]
    names = {"attack": "averaging", "oracle": "judge", "one_query_attack": "strongest attack on one query"}
    lines = pd.DataFrame(
        {
            "defence": _points(table)["defence"],
            **{shown: table[column] for column, shown in names.items()},
            "it identified": table["one_query_eval_acc"].map(percent),
        }
    )
    columns = "countermeasure " + table["countermeasure"].replace("none", "none (the features as they are)")
    wide = lines.assign(column=columns, cell=cells).pivot(
        index=list(lines.columns), columns="column", values="cell"
    )
    return filled(wide[list(dict.fromkeys(columns))].reset_index().rename_axis(columns=None))


def epochs(table: pd.DataFrame) -> pd.DataFrame:
    """Of `evidence.epochs`: one line per defence, attack and judge, one column per epoch."""
    lines = _points(table).assign(attack=table["attack"], judge=table["oracle"])
    cells = lines.assign(column=table["epoch"], cell=intervals(table, "eval_acc", percent))
    wide = cells.pivot(index=list(lines.columns), columns="column", values="cell")
    wide.columns = [f"epoch {epoch}" for epoch in wide.columns]
    return filled(wide.reindex(pd.MultiIndex.from_frame(lines.drop_duplicates())).reset_index())


def changes(comparison: pd.DataFrame) -> pd.DataFrame:
    """Of `comparison.csv`."""
    return _points(comparison).assign(
        **{
            "attack": _trials(comparison),
            "judge": comparison["oracle"],
            "images": comparison["n_images"],
            "change in percentage points": points_of_change(comparison),
            "share that is left": intervals(comparison, "left", percent),
            "p (Holm)": comparison["p_holm"].map(_p_value),
            "Eval Acc": comparison["verdict"],
        }
    )


def attacks(best: pd.DataFrame) -> pd.DataFrame:
    """Of `Results.best`."""
    rows = best.reindex(columns=best.columns.union([*LIKENESS.values(), *EPSILON.values()], sort=False))
    table = _points(rows).assign(
        **{
            "attack": rows["trial"],
            "judge": rows["oracle"],
            "Eval Acc": intervals(rows, "eval_acc", percent),
            "top 5": rows["top5"].map(_percent_or_nothing),
            "verified at 1%": intervals(rows, "tar_at_far_1", percent),
            "clean images": rows["clean_acc"].map(_percent_or_nothing),
            "mean AUC": intervals(rows, "auc", _decimal),
            **{name: rows[column].map(_decimal) for name, column in LIKENESS.items()},
            **{name: rows[column].map(_small) for name, column in EPSILON.items()},
        }
    )
    return filled(table)


def attributes(table: pd.DataFrame) -> pd.DataFrame:
    """Of `evidence.attributes`: one line per attribute, one column per defence and strength."""
    cells = table.assign(point=[name_of(line) for line in table.to_dict("records")])
    wide = cells.pivot(index=["attribute", "images"], columns="point", values="auc").map(_decimal)
    return wide[list(dict.fromkeys(cells["point"]))].reset_index().rename_axis(columns=None)


def relations(table: pd.DataFrame) -> pd.DataFrame:
    """Of `evidence.correlations`."""
    return pd.DataFrame(
        {
            "ε against": table["figure"].map(AGAINST_EPSILON),
            "points": table["points"],
            "defences and strengths": table["settings"],
            "rank correlation": intervals(table, "correlation", "{:.2f}".format),
            "": [relation(line) for _, line in table.iterrows()],
        }
    )


def sample_sizes(table: pd.DataFrame) -> pd.DataFrame:
    """Of `evidence.epsilon_curves`."""
    return _points(table).assign(
        **{
            "attack": _trials(table),
            "images": table["n"],
            "ε": table["epsilon"].map(_small),
            "null": table["null"].map(_small),
        }
    )


def health(table: pd.DataFrame) -> pd.DataFrame:
    """Of `solver_health.health`."""
    numbers = {
        "iterations": "iterations",
        "L_u at the end": "utility_loss",
        "slope at z*": "stationarity",
        "largest eigenvalue": "largest_eigenvalue",
    }
    shares = {
        "solver's residual": "solver_residual",
        "gradient off a near-exact one": "implicit_error",
        "inversion loss that could still go": "inner_gap",
    }
    shown = _points(table).assign(
        **{name: table[column].map("{:.4g}".format) for name, column in numbers.items()},
        **{name: table[column].map(_percent_or_nothing) for name, column in shares.items()},
        **{"cosine to a near-exact one": table["implicit_cosine"].map(_decimal), "checks": table["checks"]},
    )
    return filled(shown)


def seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Of `seeds.combine`."""
    return _points(table).assign(
        **{
            "attack": _trials(table),
            "judge": table["oracle"],
            "seeds": table["seeds"],
            "Eval Acc": intervals(table, "eval_acc", percent),
            "its standard deviation": table["eval_acc_std"].map(_percent_or_nothing),
            "mean AUC": intervals(table, "auc", _decimal),
        }
    )


def filled(table: pd.DataFrame) -> pd.DataFrame:
    """Without the columns that are empty throughout; empty cells are ''."""
    table = table.astype(object).fillna("")
    return table.loc[:, (table != "").any()]


def intervals(table: pd.DataFrame, name: str, show: Callable[[float], str]) -> list[str]:
    """`value (low to high)`; nothing where there is no value."""
    columns = [name, f"{name}_lo", f"{name}_hi"]
    lines = table.reindex(columns=columns).astype(float).itertuples(index=False)
    return ["" if pd.isna(line[0]) else "{} ({} to {})".format(*map(show, line)) for line in lines]


def points_of_change(table: pd.DataFrame) -> list[str]:
    """Changes and their intervals, in percentage points."""
    columns = table[["change", "lo", "hi"]].astype(float).itertuples(index=False)
    return ["" if pd.isna(line[0]) else "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * x for x in line))
            for line in columns]  # fmt: skip


def _points(table: pd.DataFrame) -> pd.DataFrame:
    """Who protects, and how much, as the first column."""
    return pd.DataFrame({"defence": [name_of(line) for line in table.to_dict("records")]}, table.index)


def _trials(table: pd.DataFrame) -> list[str]:
    return [trial(line) for line in table.to_dict("records")]


def _decimal(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.3f}"


def _percent_or_nothing(value: float) -> str:
    return "" if pd.isna(value) else percent(value)


def _small(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.5f}"


def _p_value(value: float) -> str:
    return "below 0.0001" if value < 1e-4 else f"{value:.4f}"
