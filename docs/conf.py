"""The documentation site: `make docs` builds these pages, without a network, into build/docs.

They stay readable where they lie: what a page links to beside the site is rewritten here.
"""

from __future__ import annotations

import os
import re
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
ROOT = DOCS.parent
FROM_ROOT = {"quickstart": "README.md", "contributing": "CONTRIBUTING.md", "changelog": "CHANGELOG.md"}
"""Pages that show a file of the checkout's root."""
LINK = re.compile(r"\[([^\[\]]*)\]\(((?!\w+:|#)[^()#\s]+)(#[^()\s]*)?\)")

project = "facecrafter"
author = "the facecrafter authors"
version = release = installed("facecrafter")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"facecrafter {release}"
html_show_sphinx = False
myst_heading_anchors = 4  # links to headings, as GitHub has them

autodoc_member_order = "groupwise"
autodoc_inherit_docstrings = False  # those of torch and Lightning
autodoc_typehints = "none"  # signatures would be longer than what is said of them
napoleon_use_ivar = True


def setup(app: Any) -> None:
    app.connect("source-read", read)


def read(app: Any, docname: str, source: list[str]) -> None:
    """Have the links of a page, or of the file that it shows, lead to pages and downloads of the site."""
    folder = (DOCS / docname).parent
    if docname in FROM_ROOT:
        file = ROOT / FROM_ROOT[docname]
        app.env.note_dependency(str(file))
        source[0] = file.read_text()
        source[0] = LINK.sub(lambda link: leading(link, ROOT, folder), source[0])
    else:
        source[0] = LINK.sub(lambda link: leading(link, folder, folder), source[0])


def leading(link: re.Match[str], written: Path, shown: Path) -> str:
    """A link of a file in the folder `written`, for a page in the folder `shown`; of a folder, its text."""
    text, place, anchor = link.groups()
    target = (written / place).resolve()
    if target.is_dir():
        return text
    pages = {ROOT / name: DOCS / f"{page}.md" for page, name in FROM_ROOT.items()}
    return f"[{text}]({os.path.relpath(pages.get(target, target), shown)}{anchor or ''})"
