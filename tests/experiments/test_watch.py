"""What a study shows while it runs: lines, or a live view with the curve so far."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from experiments.study.frontier import Point, plot, points
from experiments.study.views import Lines, Progress, Running, plain_view
from experiments.study.watch import Watch

NOW = Progress(3, 1, 9, [Running("prior", 70, 130)], ["crafter.beta=1", "decoder"], 3723, False)


def measured(
    folder: Path, name: str, auc: float, *accuracies: float, defence: str = "a", **labels: str
) -> dict:
    rows = [{"auc": auc, "eval_acc": value, "restart": "best"} for value in accuracies]
    rows.append({"auc": auc, "eval_acc": 1.0, "restart": "0"})
    (folder / name).mkdir()
    (folder / name / "results.json").write_text(json.dumps(rows))
    return {folder / name: {"defence": defence, "strength": "x=1", **labels}}


def test_a_point_is_as_leaky_as_the_strongest_attack_on_it(tmp_path: Path) -> None:
    """Its own best restart: what an attacker would choose, not the luckiest of all."""
    found = points(
        measured(tmp_path, "weak", 0.9, 0.1, 0.2)
        | measured(tmp_path, "strong", 0.9, 0.3)
        | measured(tmp_path, "other", 0.8, 0.05, defence="b")
        | measured(tmp_path, "all", 0.9, 0.6, attack="union")
        | measured(tmp_path, "shuffled", 0.8, 0.7, defence="b", countermeasure="shuffle")
        | measured(tmp_path, "leaked", 0.8, 0.9, defence="b", adaptive="exposure")
        | {tmp_path / "not yet": {"defence": "c", "strength": ""}}
    )
    assert found == [Point("a", "x=1", 0.9, 0.3), Point("b", "x=1", 0.8, 0.05)]


def test_the_plot_has_utility_to_the_right_and_the_leak_upwards() -> None:
    found = [Point("none", "", 0.9, 0.8), Point("crafter", "1", 0.8, 0.0), Point("crafter", "2", 0.85, 0.4)]
    lines = plot(found, 27, 8).splitlines()
    assert lines[0].startswith("  80% |")
    assert lines[0][-1] == "o"
    assert lines[0].index("o") == 7 + 19, "the highest AUC, in the last column"
    assert lines[4] == "   0% |x"
    assert lines[2].index("x") in (7 + 9, 7 + 10), "half of the way"
    assert "AUC 0.800" in lines[-2]
    assert lines[-1].strip() == "o none  x crafter"
    assert plot([], 40, 10) == ""
    assert plot(found[:1], 40, 10), "one point has no range"


def test_the_live_view_shows_stages_time_and_curve() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=40)
    view = Watch(lambda: [Point("[red]", "", 0.9, 0.5)], console)
    with view:
        view.say("start  [bold]prior[/bold]")
        view.show(NOW)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "start  [bold]prior[/bold]" in shown, "names are no markup"
    for part in ("3 of 9 stages done, 1 failed; about 1:02:03 left", "0:02:10 left", "decoder", "o [red]"):
        assert part in shown
    assert "o [red]" in shown[shown.rindex("decoder") :], "the curve stays, the table does not"


def test_where_there_is_no_terminal_there_are_lines(capsys) -> None:
    view = plain_view()
    assert type(view) is Lines
    view.show(NOW)
    assert capsys.readouterr().out == ("[3/9] 1 failed; about 1:02:03 left; running: prior (0:01:10)\n"), (
        "and no escape codes"
    )
