"""How far from a best response the simulated attacker was while Crafter protected."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from experiments.report.figures.drawing import Figure, drawing, legend, styles


def stationarity_plots(logs: pd.DataFrame, folder: Path) -> list[Figure]:
    """‖∂L_inv/∂z‖ at the point of differentiation over iterations, a figure for every defence."""
    found = logs[logs["stationarity"].notna()] if "stationarity" in logs else logs
    return [
        _stationarity(str(defence), lines, folder) for defence, lines in found.groupby("defence", sort=False)
    ] if len(found) else []  # fmt: skip


def _stationarity(defence: str, lines: pd.DataFrame, folder: Path) -> Figure:
    path, style = folder / f"stationarity-{defence}.svg", styles(lines["strength"])
    parts = []
    with drawing(path, (4.8, 3.4)) as axes:
        for strength, group in lines.groupby("strength", sort=False):
            slopes = group.groupby("iteration")["stationarity"].mean()
            shown = style[str(strength)] | {"marker": None}
            axes.plot(slopes.index, slopes, label=str(strength) or defence, linewidth=1.2, **shown)
            parts.append(f"{strength or defence} from {slopes.iloc[0]:.3g} to {slopes.iloc[-1]:.3g}")
        axes.set(xlabel="iteration", ylabel="slope of the inversion loss at z*", yscale="log", title=defence)
        legend(axes)
    caption = (
        f"{defence}: slope of the simulated attacker's loss at its response; 0 would be a best response."
    )
    return Figure(path, caption, f"{caption} {'; '.join(parts)}.")
