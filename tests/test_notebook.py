"""The notebook of docs/, as a script: from images to a frontier, on tiny sizes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "notebook.md"
CELL = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TINY = {"PEOPLE": 12, "PICTURES": 10, "EPOCHS": 1, "ITERATIONS": 1, "PROTECTED": 4, "WIDTH": 4}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_notebook_ends_with_a_frontier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sizes, *cells = CELL.findall(PAGE.read_text())
    names: dict[str, Any] = {}
    exec(sizes, names)
    assert set(TINY) == {name for name in names if name.isupper()}, "the sizes are the first cell"
    names |= TINY
    for cell in cells:
        exec(cell, names)
    assert [len(strengths) for strengths in names["points"].values()] == [1, 2, 3]
    assert all(
        0 <= low <= leak <= high <= 1
        for strengths in names["points"].values()
        for _, leak, low, high in strengths.values()
    )
    assert (tmp_path / "frontier.png").is_file()
