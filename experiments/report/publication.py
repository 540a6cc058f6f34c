"""The short page of a study that may be published: without faces, people and folders."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from experiments.report.document import Figures, Items, Section
from experiments.report.rendering import markdown_page
from facecrafter.files import PUBLIC, write_whole

DOUBTS = 15
"""How many disagreements the page tells before it counts the others."""

PALETTE = 128
"""Colours of a published figure: few keep lines and letters, and a clone has every figure for ever."""


def publish(title: str, sections: Sequence[Section], path: Path) -> None:
    """Write the page, and its figures into a folder of its name beside it. Private sections are left out."""
    public = [section for section in sections if not section.private]
    shown = [section for section in public if section.published]
    folder = path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)  # with the permissions of what is for everybody
    for old in (*folder.glob("*.png"), *folder.glob("*.svg")):
        old.unlink()
    for block in (block for section in shown for block in section.blocks if isinstance(block, Figures)):
        for figure in block.figures:
            write_whole(folder / figure.png.name, small(figure.png), PUBLIC)
    doubts = [line for section in public for line in section.doubts]
    if doubts:
        more = [f"And {len(doubts) - DOUBTS} more."] if len(doubts) > DOUBTS else []
        shown.insert(-1, Section("What disagrees", [Items([*doubts[:DOUBTS], *more])]))
    write_whole(path, markdown_page(title, shown, folder.name), PUBLIC)


def small(figure: Path) -> bytes:
    """The PNG with few colours, a third as large."""
    reduced = io.BytesIO()
    with Image.open(figure) as image:
        image.convert("RGB").quantize(PALETTE, dither=Image.Dither.NONE).save(reduced, "PNG", optimize=True)
    return reduced.getvalue()
