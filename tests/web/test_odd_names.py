"""Hostile and long names on every page of the library are text, and no page gets wider than the screen."""

from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page
from sqlalchemy import update
from support.browser import PHONE, open_page, serving
from support.library_photos import EIFFEL, GATE, LibraryPhotos, picture

from tagger.database.connection import Database
from tagger.database.tables import landmarks
from tagger.settings import Settings

MARKUP = "<img src=x onerror=\"document.title='run'\">'&amp;{{7*7}}"
LONG = "without-any-break" * 14
NAMES = (
    f"{MARKUP}.jpg".replace("/", "").encode(),
    f"{LONG}.jpg".encode(),
    ("with some breaks " * 14 + ".jpg").encode(),
    "\u202egpj.exe\u202c \u2067right\u2069 عربي.jpg".encode(),
    b"bytes-\xff\xfe\x80.jpg",
    b"line\nand\ttab.jpg",
)
TOO_WIDE = """() => [...document.querySelectorAll("body *")].filter((each) => {
  const { left, right, width } = each.getBoundingClientRect();
  const scrolls = each.closest(".chips, .table-wrap, .photo-tile, svg, .visually-hidden, .skip, .one-line");
  return width && each.checkVisibility() && !scrolls && (left < -1 || right > innerWidth + 1);
}).map((each) => each.outerHTML.slice(0, 150))"""
CUT_OFF = """() => [...document.querySelectorAll(".card, .cover, .page-head, dd, .chips > ul")]
  .filter((each) => each.checkVisibility() && each.scrollWidth > each.clientWidth + 1).map((each) => each.outerHTML.slice(0, 150))"""


@pytest.fixture
def library(web_database: Database, web_settings: Settings, tmp_path: Path) -> LibraryPhotos:
    library = LibraryPhotos(web_database, web_settings, tmp_path / "photos")
    for n, name in enumerate(NAMES):
        data = picture((40 * n, 120, 200 - 30 * n), (300, 200))
        library.file(LONG.encode() + b"/" + name, (EIFFEL, 0.9, True), (GATE, 0.05, False), data=data)
    library.file(b"unknown/" + NAMES[0], (EIFFEL, 0.1, False), data=picture((1, 2, 3)))
    with web_database.write() as connection:
        for slug, name in ((EIFFEL, MARKUP + LONG), (GATE, "\u202eetag\u202c " + MARKUP)):
            names = {"name": name, "city": LONG, "country": MARKUP + LONG}
            connection.execute(update(landmarks).where(landmarks.c.slug == slug).values(names))
    return library


def assert_text_fits(page: Page, path: str) -> None:
    assert page.locator("img[src=x]").count() == 0, path
    assert page.title() != "run", path
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path
    assert page.evaluate(TOO_WIDE) == [], path
    assert page.evaluate(CUT_OFF) == [], path


@pytest.mark.slow
def test_odd_names_are_text_and_make_nothing_wider(
    browser: Browser, library: LibraryPhotos, web_settings: Settings
) -> None:
    folder = urlencode({"under": str(library.root / LONG), "any_rank": 1})
    paths = ["/library", f"/landmarks/{EIFFEL}", f"/photos?{folder}", "/map", "/unknown", "/search?q=break"]
    paths += [f"/photos/{number}?landmark={EIFFEL}" for number in range(1, len(NAMES) + 2)]
    with serving(web_settings) as address, open_page(browser, "about:blank", screen=PHONE) as page:
        for path in paths:
            page.goto(address + path)
            page.wait_for_load_state("networkidle")
            if path == "/map":
                page.locator("details.map-country").first.evaluate("(each) => (each.open = true)")
            assert_text_fits(page, path)
        page.keyboard.press("n")
        page.get_by_label("Landmark, city or country").fill("break")
        page.locator("[data-results] button").first.wait_for()
        assert_text_fits(page, "the dialog")


def test_a_name_with_script_syntax_is_text(
    browser: Browser, library: LibraryPhotos, web_settings: Settings
) -> None:
    with serving(web_settings) as address, open_page(browser, f"{address}/photos/1", screen=PHONE) as page:
        page.keyboard.press("r")
        output = page.locator("#announcement")
        output.filter(has_text="rejected").wait_for(state="attached")
        assert MARKUP in (output.text_content() or "")
        assert_text_fits(page, "a verdict")
        page.goto(f"{address}/landmarks/{EIFFEL}")
        page.get_by_role("button", name="Select").click()
        page.locator("[data-grid] > .photo-tile").first.click()
        page.get_by_role("button", name="Reject 1").click()
        page.locator(".toast").first.wait_for()
        assert_text_fits(page, "a selection")
