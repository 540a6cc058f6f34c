"""The page in a real browser: no error, nothing loaded, nothing that does not fit, whatever the screen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser, browser
from made_up_study import write_rich_study

from experiments.report.build import build

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt install chromium")
WIDTHS = [400, 900, 1400]
TROUBLE = {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"}
FITS = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
OUTSIDE = """
[...document.querySelectorAll('main *')].filter(part =>
  !part.closest('.scroll, pre, svg, details:not([open])') && part.getBoundingClientRect().right > innerWidth
).map(part => part.outerHTML.slice(0, 80))
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    study = write_rich_study(tmp_path_factory.mktemp("study"), tmp_path_factory.mktemp("cache"))
    return build(study, show_faces=True)


@pytest.fixture(scope="module")
def tab(page: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        opened.open(page)
        yield opened


def test_nothing_is_reported_and_nothing_is_loaded(tab: Browser, page: Path) -> None:
    assert tab.evaluate("document.querySelectorAll('h2').length") > 10, "the page is there"
    assert not [event for event in tab.events if event[0] in TROUBLE]
    urls = [event["request"]["url"] for name, event in tab.events if name == "Network.requestWillBeSent"]
    assert page.as_uri() in urls
    assert not [url for url in urls if url != page.as_uri() and not url.startswith("data:")]


@pytest.mark.parametrize("folded", [True, False])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_the_screen(tab: Browser, width: int, folded: bool) -> None:
    """Wide tables scroll in their own box."""
    tab.resize(width)
    tab.evaluate(
        f"document.querySelectorAll('details').forEach(part => part.open = {str(not folded).lower()})"
    )
    assert tab.evaluate("innerWidth") == width
    assert tab.evaluate(OUTSIDE) == []
    assert tab.evaluate(FITS)


def test_wide_tables_can_be_reached_by_keyboard(tab: Browser) -> None:
    tab.resize(400)
    scrolling = "[...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth)"
    assert tab.evaluate(f"{scrolling}.length") > 0
    assert tab.evaluate(f"{scrolling}.every(box => box.tabIndex === 0)")


def test_figures_take_the_readers_colours(tab: Browser) -> None:
    """Black axes on a black page would be no figure."""
    colours = {}
    for scheme in ("light", "dark"):
        tab.prefer(scheme)
        colours[scheme] = tab.evaluate(
            "getComputedStyle(document.querySelector('svg [style*=currentColor]')).stroke"
        )
    assert colours["light"] == "rgb(0, 0, 0)"
    assert colours["dark"] == "rgb(255, 255, 255)"


def test_a_table_is_downloaded_from_the_page_itself(tab: Browser) -> None:
    link = "document.querySelector('a[download=\"summary.csv\"]').href"
    assert tab.evaluate(f"atob({link}.split(',')[1]).split('\\n')[0]").startswith("defence,strength,auc")


def test_it_can_be_printed(tab: Browser) -> None:
    """On paper nothing scrolls: what is wider than the sheet would be lost."""
    tab.call("Emulation.setEmulatedMedia", media="print")
    tab.resize(700)  # A4 between its margins, in CSS pixels
    wide = "[...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > innerWidth)"
    names = tab.evaluate(f"{wide}.map(box => box.getAttribute('aria-label'))")
    tab.call("Emulation.setEmulatedMedia", media="")
    assert names == []
