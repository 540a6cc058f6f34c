"""Attributes, ε, the solver's health and the spread over seeds, as people read them."""

from __future__ import annotations

import pandas as pd

from experiments.report.cells import decimal, filled, intervals, named, percentage, small, trials
from experiments.report.evidence import LIKENESS, relation
from experiments.report.results import name_of, percent


def attributes(table: pd.DataFrame) -> pd.DataFrame:
    """Of `evidence.attributes`: one line per attribute, one column per defence and strength."""
    cells = table.assign(point=[name_of(line) for line in table.to_dict("records")])
    wide = cells.pivot(index=["attribute", "images"], columns="point", values="auc").map(decimal)
    return wide[list(dict.fromkeys(cells["point"]))].reset_index().rename_axis(columns=None)


def relations(table: pd.DataFrame) -> pd.DataFrame:
    """Of `evidence.correlations`."""
    return pd.DataFrame(
        {
            "ε against": table["figure"].map(LIKENESS),
            "points": table["points"],
            "defences and strengths": table["settings"],
            "rank correlation": intervals(table, "correlation", "{:.2f}".format),
            "": [relation(line) for _, line in table.iterrows()],
        }
    )


def sample_sizes(table: pd.DataFrame) -> pd.DataFrame:
    """Of `evidence.epsilon_curves`."""
    return named(table).assign(
        **{
            "attack": trials(table),
            "images": table["n"],
            "ε": table["epsilon"].map(small),
            "null": table["null"].map(small),
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
    shown = named(table).assign(
        **{name: table[column].map("{:.4g}".format) for name, column in numbers.items()},
        **{name: table[column].map(percentage) for name, column in shares.items()},
        **{"cosine to a near-exact one": table["implicit_cosine"].map(decimal), "checks": table["checks"]},
    )
    return filled(shown)


def seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Of `seeds.combine`."""
    return named(table).assign(
        **{
            "attack": trials(table),
            "judge": table["oracle"],
            "seeds": table["seeds"],
            "Eval Acc": intervals(table, "eval_acc", percent),
            "its standard deviation": table["eval_acc_std"].map(percentage),
            "mean AUC": intervals(table, "auc", decimal),
        }
    )
