"""What adaptive attackers gain, as people read it."""

from __future__ import annotations

import pandas as pd

from experiments.report.cells import filled, intervals, named, points_of_change, trials
from experiments.report.results import percent


def gains(table: pd.DataFrame) -> pd.DataFrame:
    """Of `worst_case.adaptive_gains`."""
    return named(table).assign(
        **{
            "adaptive attack": trials(table),
            "judge": table["oracle"],
            "identified": intervals(table, "eval_acc", percent),
            "strongest basic attack": table["basic_attack"],
            "it identified": table["basic_eval_acc"].map(percent),
            "change": points_of_change(table),
            "adapting finds": table["verdict"].replace({"higher": "more", "lower": "less"}),
        }
    )


def epochs(table: pd.DataFrame) -> pd.DataFrame:
    """Of `evidence.epochs`: one line per defence, attack and judge, one column per epoch."""
    lines = named(table).assign(attack=table["attack"], judge=table["oracle"])
    cells = lines.assign(column=table["epoch"], cell=intervals(table, "eval_acc", percent))
    wide = cells.pivot(index=list(lines.columns), columns="column", values="cell")
    wide.columns = [f"epoch {epoch}" for epoch in wide.columns]
    return filled(wide.reindex(pd.MultiIndex.from_frame(lines.drop_duplicates())).reset_index())


def averaging(table: pd.DataFrame) -> pd.DataFrame:
    """Of `evidence.countermeasures`: per defence, averaging and judge, one column per countermeasure."""
    found = intervals(table, "eval_acc", percent)
    cells = [f"{cell}, {verdict}" for cell, verdict in zip(found, table["verdict"], strict=True)]
    names = {"attack": "averaging", "oracle": "judge", "one_query_attack": "strongest attack on one query"}
    lines = pd.DataFrame(
        {
            "defence": named(table)["defence"],
            **{shown: table[column] for column, shown in names.items()},
            "it identified": table["one_query_eval_acc"].map(percent),
        }
    )
    columns = "countermeasure " + table["countermeasure"].replace("none", "none (the features as they are)")
    wide = lines.assign(column=columns, cell=cells).pivot(
        index=list(lines.columns), columns="column", values="cell"
    )
    return filled(wide[list(dict.fromkeys(columns))].reset_index().rename_axis(columns=None))
