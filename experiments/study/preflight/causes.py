"""Why a trial failed, from what it printed, and what would help."""

from __future__ import annotations

import re
from pathlib import Path

RAISED = re.compile(r"^(?:[\w.]*(?:Error|Exception|Interrupt|Warning|Exit)\b:?|error:|[\w.-]+: error:).*")
AFTER_A_BAR = re.compile(r"(?<=\])(?=[\w.-]*:? ?(?:error|Traceback)\b)")
"""Where a message follows a progress bar, which ends no line."""
LINES = 6
"""Of a message, at most."""
REMEDIES = {
    r"in-?place|modified by an inplace": "give the network layers that do not overwrite their input "
    "(inplace=False)",
    r"forward AD|forward-mode|forward derivative|jvp": "crafting needs the layer's forward derivative: "
    "exchange the layer, or give it a Jacobian rule",
    r"out of memory|bad_alloc|can't allocate": "lower batch_size or manifest_batch_size, or --jobs",
    r"size mismatch|mat1 and mat2|shape.* mismatch|must match|expected .* channels": "what one network "
    "returns does not fit the next: compare the sizes in their sections",
    r"Target \d+ is out of bounds|index \d+ is out of": "the network tells too few people or classes apart: "
    "leave n_identities or n_outputs out, and the data says it",
    r"No such file|does not exist|is missing": "name a file that is there",
}


def cause(log: Path) -> str:
    """What a failed command says last: its exception, or its own sentence."""
    text = log.read_text(errors="replace") if log.is_file() else ""
    text = AFTER_A_BAR.sub("\n", text.replace("\r", "\n"))
    lines = [line for line in text.splitlines() if line.strip()]
    starts = [number for number, line in enumerate(lines) if RAISED.match(line)]
    if not starts:
        return lines[-1].strip() if lines else "it printed nothing"
    return " ".join(line.strip() for line in lines[starts[-1] :][:LINES])


def remedy(why: str) -> str | None:
    """What would help, where the cause is a known one."""
    return next((text for pattern, text in REMEDIES.items() if re.search(pattern, why, re.I)), None)
