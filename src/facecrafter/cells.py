"""Text in tables that a spreadsheet may open: nothing in it is carried out, all of it is read back."""

from __future__ import annotations

import re
from typing import Any

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""What a spreadsheet would carry out, with as many apostrophes before it as were needed so far."""


def neutral(cell: Any) -> Any:
    """The cell; text that a spreadsheet would take for a formula gets an apostrophe before it."""
    is_formula = isinstance(cell, str) and _FORMULA.match(cell) and not _is_number(cell)
    return f"'{cell}" if is_formula else cell


def original(cell: str) -> str:
    """What `neutral` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
