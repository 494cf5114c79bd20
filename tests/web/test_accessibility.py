"""Accessibility of every view: axe, keyboard, zoom, narrow phones, reduced motion."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from support.browser import DESKTOP, PHONE, Screen, axe_findings, open_page, serving
from support.library_photos import EIFFEL, GATE, VERSAILLES, LibraryPhotos, picture
from support.page_server import photo, settings_in

from tagger.database.connection import open_database
from tagger.database.tables import Priority, Runner
from tagger.enqueue.backfill import Backfill, BackfillScope
from tagger.enqueue.schedules import add_schedule
from tagger.ledger.job_control import pause
from tagger.ledger.jobs import NewJob, create_job, finish_scan

VIEWS = (
    "/", "/library", "/search", "/search?q=nothing", "/search?q=france", "/landmarks/eiffel-tower",
    "/photos?country=France", "/map", "/map?part=Europe", "/unknown", "/photos/1?landmark=eiffel-tower", "/jobs", "/jobs/1", "/jobs/new", "/jobs/schedules/new",
)  # fmt: skip
# Under another theme only colours are others.
COLOURS = {"runOnly": ["color-contrast"]}
NARROWEST = {"width": 320, "height": 568}
ENLARGED_TWICE = {"width": 720, "height": 450}
BESIDE_THE_SCREEN = """() => {
  document.querySelectorAll("details").forEach((each) => (each.open = true));
  return [...document.querySelectorAll("body *")].filter((each) => {
    const box = each.getBoundingClientRect();
    const isBeside = box.width > 1 && each.checkVisibility() && (box.right > innerWidth + 1 || box.left < -1);
    return isBeside && !each.closest("[role=region], .visually-hidden, .skip, .chips, svg");
  }).map((each) => each.outerHTML.slice(0, 120));
}"""
REACHABLE = """() => {
  const wanted = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']";
  const seen = (each) => each.checkVisibility({ visibilityProperty: true }) && !each.disabled && each.tabIndex >= 0;
  const all = [...document.querySelectorAll(wanted)].filter((each) => seen(each) && !each.closest("dialog:not([open])"));
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
MOVING = """() => [...document.querySelectorAll("*")].filter((each) => {
  const { animationName, animationDuration, transitionDuration } = getComputedStyle(each);
  const moves = (durations) => durations.split(",").some((each) => parseFloat(each) > 0.01);
  return (animationName !== "none" && moves(animationDuration)) || moves(transitionDuration);
}).map((each) => each.outerHTML.slice(0, 120))"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("everybody")
    settings = settings_in(folder)
    with closing(open_database(settings.effective_database_url)) as database:
        library = LibraryPhotos(database, settings, folder / "photos")
        for n, slug in enumerate((EIFFEL, EIFFEL, GATE, VERSAILLES)):
            name = f"{'a-very-long-name-' * 8}{n}.jpg"
            library.file(name, (slug, 0.9, True), (GATE, 0.1, False), data=picture((60 * n, 120, 90)))
        library.file("nothing.jpg", (EIFFEL, 0.2, False), data=picture((20, 20, 20)))
        library.gone("nothing.jpg")
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


def colours_found(page: Page) -> list[Any]:
    return [each["id"] for each in Axe().run(page, options=COLOURS).response["violations"]]


def come_to_rest(page: Page) -> None:
    """What fades in has no contrast yet."""
    page.wait_for_function(
        "() => document.getAnimations().every((each) => each.playState !== 'running' || each.effect.getTiming().iterations === Infinity)"
    )


@pytest.mark.parametrize("screen", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_axe_finds_nothing_in_either_theme_and_nothing_needs_scrolling_sideways(
    browser: Browser, address: str, screen: Screen
) -> None:
    with open_page(browser, address, screen=screen, base=address) as page:
        for path in VIEWS:
            page.goto(path)
            if path == "/":
                file = {"name": "tower.png", "mimeType": "image/png", "buffer": photo()}
                page.set_input_files("#photo", files=[file])
                expect(page.locator(".result h2")).to_have_text("Eiffel Tower", timeout=60_000)
            come_to_rest(page)
            assert axe_findings(page) == [], path
            page.emulate_media(color_scheme="dark")
            come_to_rest(page)
            assert colours_found(page) == [], path
            page.emulate_media(color_scheme="light")
            page.set_viewport_size(NARROWEST if screen.touch else ENLARGED_TWICE)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
            assert page.evaluate("innerWidth") == (NARROWEST if screen.touch else ENLARGED_TWICE)["width"]
            assert page.evaluate(BESIDE_THE_SCREEN) == [], path
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
            page.set_viewport_size({"width": screen.width, "height": screen.height})


def test_the_keyboard_alone_reaches_everything_and_is_seen_there(browser: Browser, address: str) -> None:
    with open_page(browser, address, base=address) as page:
        for path in VIEWS:
            page.goto(path)
            many = page.evaluate(REACHABLE)
            reached: set[int] = set()
            for _ in range(2 * many + 20):
                page.keyboard.press("Tab")
                at = page.evaluate(FOCUSED)
                if at["number"] is None:
                    continue
                reached.add(int(at["number"]))
                assert at["ring"], (path, at["what"])
                assert at["seen"], (path, at["what"])
                if len(reached) == many:
                    break
            missed = sorted(set(range(many)) - reached)
            assert [
                page.locator(f"[data-tested='{n}']").evaluate("(each) => each.outerHTML") for n in missed
            ] == [], path


def test_who_wants_no_motion_sees_none(browser: Browser, address: str) -> None:
    with open_page(browser, address, base=address) as page:
        page.emulate_media(reduced_motion="no-preference")
        assert page.evaluate(MOVING) != []
        page.emulate_media(reduced_motion="reduce")
        for path in VIEWS:
            page.goto(path)
            assert page.evaluate(MOVING) == [], path
