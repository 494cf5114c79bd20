"""Accessibility of every view: axe, keyboard, zoom, narrow phones, reduced motion."""

import re
from collections import Counter
from collections.abc import Iterator
from urllib.request import urlopen

import pytest
from playwright.sync_api import Page, ViewportSize, expect
from sqlalchemy import update
from support.browser import DESKTOP, PHONE, WINDOW, axe_findings, colour_findings, open_page, serving
from support.library_photos import EIFFEL, GATE, TRIP, VERSAILLES, add_trip, picture
from support.page_server import library_in, photo, settings_in

from tagger.database import Priority, Runner
from tagger.database.tables import landmarks
from tagger.jobs.enqueue.schedules import add_schedule
from tagger.jobs.enqueue.submission import Backfill, BackfillScope
from tagger.ledger import NewJob, create_job, finish_scan
from tagger.ledger.job_control import pause

VIEWS = (
    "/try", "/places", "/search?q=france", "/landmarks/eiffel-tower", "/photos?country=France",
    "/trips", f"/trips/{TRIP}", "/map", "/photos?unknown=1", "/review", "/photos/1?landmark=eiffel-tower", "/jobs", "/jobs/1", "/jobs/new",
    "/search", "/search?q=nothing",
    "/photos/1/similar", "/photos?job=1", "/jobs/older?before=9", "/places/edit/eiffel-tower", f"/trips/edit/{TRIP}",
)  # fmt: skip
MAIN_VIEWS = 16  # The others are variants of the first ones
LONG_NAME = f"\N{RIGHT-TO-LEFT OVERRIDE}gpj\N{POP DIRECTIONAL FORMATTING} {'without-any-break' * 14}"
NARROWEST: ViewportSize = {"width": 320, "height": 568}
ENLARGED_TWICE: ViewportSize = {"width": 720, "height": 450}
OUTSIDE_THE_SCREEN = """() => {
  document.querySelectorAll("details").forEach((each) => (each.open = true));
  return [...document.querySelectorAll("body *")].filter((each) => {
    const box = each.getBoundingClientRect();
    const isOutside = box.width > 1 && each.checkVisibility() && (box.right > innerWidth + 1 || box.left < -1);
    return isOutside && !each.closest("[role=region], .visually-hidden, .skip, .chips, svg");
  }).map((each) => each.outerHTML.slice(0, 120));
}"""
REACHABLE = """() => {
  const focusable = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']";
  const seen = (each) => each.checkVisibility({ visibilityProperty: true }) && !each.disabled && each.tabIndex >= 0;
  const byArrow = (each) => each.type === "radio" && !each.checked && each.form.querySelector(`[name="${each.name}"]:checked`);
  const reachable = document.querySelector("dialog:modal") ?? document;
  const all = [...reachable.querySelectorAll(focusable)].filter(
    (each) => seen(each) && !byArrow(each) && !each.closest("dialog:not([open])"));
  all.forEach((each, index) => (each.dataset.tested = index));
  return all.length;
}"""
FOCUSED = """() => {
  const here = document.activeElement;
  const ringed = (each) => each && getComputedStyle(each).outlineStyle !== "none" && parseFloat(getComputedStyle(each).outlineWidth) >= 2;
  const around = [here, here.parentElement, here.parentElement?.parentElement, here.nextElementSibling, here.firstElementChild];
  const isWithin = here.matches(":focus-within:not(:focus)"); // a part that the browser drew, with its ring
  const box = here.getBoundingClientRect();
  return { number: here.dataset?.tested ?? null, ring: isWithin || around.some(ringed), seen: box.bottom > 0 && box.top < innerHeight,
    what: here.outerHTML.slice(0, 120) };
}"""
GRID_DRAWN = """() => !document.querySelector("[data-grid]:not([data-drawn])")"""
MOVING = """() => [...document.querySelectorAll("*")].filter((each) => {
  const { animationName, animationDuration, transitionDuration } = getComputedStyle(each);
  const moves = (durations) => durations.split(",").some((each) => parseFloat(each) > 0.01);
  return (animationName !== "none" && moves(animationDuration)) || moves(transitionDuration);
}).map((each) => each.outerHTML.slice(0, 120))"""


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    settings = settings_in(tmp_path_factory.mktemp("accessible"))
    with library_in(settings) as library:
        for n, slug in enumerate((EIFFEL, EIFFEL, GATE, VERSAILLES)):
            name = f"{'a-very-long-name-' * 8}{n}.jpg"
            library.file(name, (slug, 0.9, True), (GATE, 0.1, False), data=picture((60 * n, 120, 90)))
        library.file("nothing.jpg", (EIFFEL, 0.2, False), data=picture((20, 20, 20)))
        library.gone("nothing.jpg")
        database = library.database
        with database.write() as connection:
            names = {"name": LONG_NAME, "city": LONG_NAME, "country": LONG_NAME}
            connection.execute(update(landmarks).where(landmarks.c.slug == VERSAILLES).values(names))
        add_trip(library)
        library.file("unknown.jpg", (EIFFEL, 0.2, False), data=picture((30, 20, 20)))
        for job in (create_job(database, NewJob(library.model.id, 5, 0.5, Runner.WORKERS)) for _ in range(2)):
            finish_scan(database, job)
        waiting = create_job(database, NewJob(library.model.id, 5, 0.5, Runner.WORKERS))
        pause(database, waiting)
        add_schedule(
            database, "nightly", "0 3 * * *", Backfill(BackfillScope.ALL), Priority.BULK, "Europe/Paris"
        )
    with serving(settings) as url:
        yield url


def assert_fits(page: Page, path: str, size: ViewportSize) -> None:
    """Check that nothing of the page is outside a window of this size, with everything unfolded too."""
    page.set_viewport_size(size)
    page.wait_for_function(
        "(width) => innerWidth === width && document.documentElement.scrollWidth <= width", arg=size["width"]
    )  # parts may still be loading
    assert page.evaluate(OUTSIDE_THE_SCREEN) == [], path
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


@pytest.mark.slow
def test_each_id_is_once_in_a_page(address):
    for path in VIEWS:
        with urlopen(address + path) as response:
            ids = Counter(re.findall(r'\sid="([^"]+)"', response.read().decode()))
        assert [name for name, count in ids.items() if count > 1] == [], path


@pytest.mark.parametrize(
    ("screen", "views", "dark", "locale"),
    [
        pytest.param(PHONE, VIEWS[:MAIN_VIEWS], False, "en", id="phone"),
        pytest.param(PHONE, VIEWS, True, "en", marks=pytest.mark.slow, id="phone, all views"),
        pytest.param(PHONE, VIEWS, False, "hi", marks=pytest.mark.slow, id="phone, in Hindi"),
        pytest.param(DESKTOP, VIEWS, True, "en", marks=pytest.mark.slow, id="desktop, all views"),
        pytest.param(PHONE, VIEWS, False, "de", marks=pytest.mark.slow, id="phone, in German"),
    ],
)
def test_axe_finds_nothing_and_nothing_needs_scrolling_sideways(
    browser, address, screen, views, dark, locale
):
    """In either theme, in the long form."""
    with open_page(browser, address, screen=screen, base=address, locale=locale) as page:
        for path in views:
            page.goto(path)
            assert page.locator("html").get_attribute("lang") == locale
            if path == "/try":
                file = {"name": "tower.png", "mimeType": "image/png", "buffer": photo()}
                page.set_input_files("#photo", files=[file])
                expect(page.locator("#result h2")).to_contain_text(re.compile("Eiffel|एफ़िल"))
            assert axe_findings(page) == [], path
            if dark:
                page.emulate_media(color_scheme="dark")
                assert colour_findings(page) == [], path
                page.emulate_media(color_scheme="light")
            assert_fits(page, path, NARROWEST if screen.touch else ENLARGED_TWICE)
            page.set_viewport_size({"width": screen.width, "height": screen.height})


def wait_for_map(page: Page) -> None:
    if page.locator(".map-live").count():
        page.locator("a.map-cluster").first.wait_for(timeout=120_000)


@pytest.mark.slow
def test_the_keyboard_reaches_everything_and_views_fit_a_window_enlarged_twice_and_stand_still(
    browser, address
):
    """The focus is visible; with reduced motion, nothing moves."""
    with open_page(browser, address, base=address) as page:
        page.emulate_media(reduced_motion="no-preference")
        assert page.evaluate(MOVING) != []
        for path in VIEWS:
            page.goto(path)
            page.wait_for_function(GRID_DRAWN)
            wait_for_map(page)
            count = page.evaluate(REACHABLE)
            reached: set[int] = set()
            for _ in range(2 * count + 20):
                page.keyboard.press("Tab")
                focused = page.evaluate(FOCUSED)
                if focused["number"] is None:
                    continue
                reached.add(int(focused["number"]))
                assert focused["ring"], (path, focused["what"])
                assert focused["seen"], (path, focused["what"])
                if len(reached) == count:
                    break
            missed = sorted(set(range(count)) - reached)
            assert [
                page.locator(f"[data-tested='{n}']").evaluate("(each) => each.outerHTML") for n in missed
            ] == [], path
            page.emulate_media(reduced_motion="reduce")
            assert page.evaluate(MOVING) == [], path
            assert_fits(page, path, ENLARGED_TWICE)
            page.set_viewport_size({"width": WINDOW.width, "height": WINDOW.height})
            page.emulate_media(reduced_motion="no-preference")
