"""The live view of a study on a terminal: its stages, how long they still take, and the curve so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from experiments.study.frontier import Point, plot
from experiments.study.views import Progress, Status, clock

PLOT = 14
"""Lines of the curve."""
FEW = 6
"""Lines that stages have at least, and those that wait at most."""


class Watch(Status):
    """What happens goes by above a table of the stages and the privacy-utility curve, renewed every second.

    Args:
        curve: the points that are measured so far.
        console: to draw on; default: the terminal.
    """

    def __init__(self, curve: Callable[[], Sequence[Point]], console: Console | None = None) -> None:
        super().__init__(console)
        self.curve = curve
        self.live = Live(console=self.console, auto_refresh=False, vertical_overflow="crop")

    def __exit__(self, *_: object) -> None:
        self.live.update(Group(*self._curve(self.curve())))  # the table would say what is over
        super().__exit__()

    def show(self, progress: Progress) -> None:
        found = self.curve()
        stages = self._stages(progress, PLOT if found else 0)
        self.live.update(Group(stages, *self._curve(found)), refresh=True)

    def _curve(self, found: Sequence[Point]) -> list[Panel]:
        if not found:
            return []
        title = "leak of the strongest attack so far (Eval Acc), and what the cloud reads (AUC)"
        width = min(self.console.width - 4, 90)
        drawn = Text(plot(found, width, PLOT - 2), no_wrap=True)
        return [Panel(drawn, title=title, width=width + 4)]

    def _stages(self, progress: Progress, below: int) -> Panel:
        table = Table.grid(padding=(0, 2))
        for stage in progress.running:
            total = stage.seconds + stage.left
            left = f"{clock(stage.left)} left" if stage.left else "soon"
            table.add_row(
                Text(stage.name, style="bold"),
                ProgressBar(total=total or 1.0, completed=stage.seconds, width=24),
                clock(stage.seconds),
                left,
            )
        room = max(FEW, self.console.height - below - 4) - len(progress.running)
        shown = progress.waiting[: max(0, min(room - 1, FEW))]
        for name in shown:
            table.add_row(Text(name, style="dim"), "", "", Text("waits", style="dim"))
        if more := len(progress.waiting) - len(shown):
            table.add_row(Text(f"and {more} more", style="dim"))
        guess = "more than" if progress.is_least else "about"
        failed = f", {progress.failed} failed" if progress.failed else ""
        title = (
            f"{progress.done} of {progress.total} stages done{failed}; {guess} {clock(progress.left)} left"
        )
        return Panel(table, title=Text(title), title_align="left")
