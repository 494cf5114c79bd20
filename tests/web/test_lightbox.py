"""The lightbox: a photo of a grid over the whole window, by keyboard, mouse and touch."""

import time
from collections.abc import Iterator
from datetime import datetime

import pytest
from playwright.sync_api import Page, Route, expect
from rig.drawing import draw_photo
from support.browser import PHONE, WINDOW, axe_findings, open_page, serving, verdicts_of
from support.format_photos import encode_photo
from support.library_photos import EIFFEL, GATE
from support.page_server import library_in, settings_in

PHOTOS = 6
STATUS = "#lightbox [data-status]"
PANEL = "#lightbox [data-panel]"
SHOWN = """() => { const image = document.querySelector("#lightbox [data-stage] img"); return image?.complete && image.naturalWidth }"""
FOCUSED = "() => document.activeElement.closest('[data-grid] > li')?.dataset.photo"


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    """The address of a library of PHOTOS photos with files."""
    settings = settings_in(tmp_path_factory.mktemp("lightbox"))
    with library_in(settings) as library:
        for n in range(PHOTOS):
            data = encode_photo("JPEG", draw_photo(n, (1200, 900)))
            library.file(
                f"photo-{n}.jpg",
                (EIFFEL, 0.9 - n / 20, True),
                (GATE, 0.05, False),
                data=data,
                taken_at=datetime(2024, 6, 3, 14, PHOTOS - n),  # noqa: DTZ001 - local time
            )
        library.position("photo-1.jpg", 48.86, 2.35, country="France", city="Paris")
    with serving(settings) as url:
        yield url


TRANSFORM = "() => document.querySelector('#lightbox [data-stage] img').style.transform"


def press_escape_twice(page: Page) -> None:
    """Press it again before the browser has gone back: that must not leave the grid too."""
    page.evaluate("""() => {
      const dialog = document.getElementById("lightbox");
      for (let n = 0; n < 2; n++) dialog.dispatchEvent(new Event("cancel", { cancelable: true }));
    }""")


def open_photo(page: Page, number: int) -> None:
    """Click the photo's tile, once the grid is drawn, and wait for its preview."""
    page.locator("[data-grid][data-drawn]").wait_for()
    page.locator(f'[data-grid] [data-photo="{number}"] a').click()
    page.wait_for_function(SHOWN)


def test_a_photo_opens_over_the_grid_and_leads_to_those_beside_it_and_back(browser, address):
    with open_page(browser, f"{address}/landmarks/{EIFFEL}") as page:
        open_photo(page, 2)
        assert page.url == f"{address}/photos/2?landmark={EIFFEL}&within=1"
        expect(page.locator(STATUS)).to_have_text(f"Photo 2 of {PHOTOS}: Eiffel Tower")
        expect(page.get_by_role("dialog", name="3 June 2024, 14:05")).to_be_visible()
        expect(page.locator("#lightbox [data-place]")).to_have_text("Eiffel Tower · Paris, France")
        assert page.evaluate(SHOWN) == 1200
        saved = page.locator("#lightbox").get_by_role("link", name="Download")
        expect(saved).to_have_attribute("href", "/api/photos/2/file")
        for _ in range(12):
            page.keyboard.press("Tab")
            assert page.evaluate(
                "() => document.activeElement === document.body || !!document.activeElement.closest('#lightbox')"
            )
        assert axe_findings(page) == []
        page.keyboard.press("Escape")
        expect(page.locator("#lightbox")).to_be_hidden()
        assert page.url == f"{address}/landmarks/{EIFFEL}"
        assert page.evaluate(FOCUSED) == "2"
        page.keyboard.press("Enter")
        expect(page.locator(STATUS)).to_have_text(f"Photo 2 of {PHOTOS}: Eiffel Tower")
        page.go_back()
        expect(page.locator("#lightbox")).to_be_hidden()
        assert page.title().startswith("Eiffel Tower · landmark")
        # The photos beside it
        open_photo(page, 1)
        expect(page.get_by_role("button", name="Previous photo")).to_be_hidden()
        page.keyboard.press("ArrowLeft")
        expect(page.locator(STATUS)).to_have_text("This is the first photo")
        page.get_by_role("button", name="Next photo").click()
        page.wait_for_url("**/photos/2?**")
        page.keyboard.press("Home")
        expect(page.locator(STATUS)).to_have_text(f"Photo 1 of {PHOTOS}: Eiffel Tower")
        page.keyboard.press("End")
        page.keyboard.press("ArrowRight")
        expect(page.locator(STATUS)).to_have_text("This is the last photo")
        expect(page.get_by_role("button", name="Next photo")).to_be_hidden()
        page.keyboard.press("ArrowLeft")
        expect(page.locator(STATUS)).to_have_text(f"Photo {PHOTOS - 1} of {PHOTOS}: Eiffel Tower")
        page.wait_for_function(SHOWN)
        page.get_by_role("button", name="Back to the photos").click()
        assert page.evaluate(FOCUSED) == str(PHOTOS - 1)


@pytest.mark.slow
def test_a_preview_that_does_not_load_is_reported_and_tried_again(browser, address):
    with browser.new_context() as context:
        page = context.new_page()  # the browser logs failed requests as errors
        page.goto(f"{address}/landmarks/{EIFFEL}")
        page.route("**/preview?*", lambda route: route.abort())
        page.locator("[data-grid] a").first.click()
        expect(page.locator("#lightbox [role=alert]")).to_contain_text("could not be loaded")
        page.unroute("**/preview?*")
        page.keyboard.press("Escape")
        page.wait_for_function(f"() => ({FOCUSED})() === '1'")
        page.keyboard.press("Enter")
        page.wait_for_function(SHOWN)


def test_keys_give_verdicts_that_the_grid_shows_too(browser, address):
    with open_page(browser, f"{address}/landmarks/{EIFFEL}") as page:
        open_photo(page, 2)
        for key in ("r", "ArrowRight", "c"):  # each for the photo that is shown at that time
            page.keyboard.press(key)
        expect(page.locator(STATUS)).to_have_text("Eiffel Tower confirmed")
        expect(page.locator("#lightbox .toasts")).to_contain_text("Eiffel Tower confirmed")
        assert verdicts_of(page, address, 2) == {EIFFEL: "rejected"}
        assert verdicts_of(page, address, 3) == {EIFFEL: "confirmed"}
        page.keyboard.press("u")
        expect(page.locator(STATUS)).to_have_text("Eiffel Tower: verdict withdrawn")
        press_escape_twice(page)
        page.wait_for_function(f"() => ({FOCUSED})() === '3'")
        expect(page.locator('[data-photo="2"][data-removed] [data-mark]')).to_have_text("rejected")
        page.keyboard.press("ArrowLeft")
        page.wait_for_function(f"() => ({FOCUSED})() === '2'")
        page.keyboard.press("Enter")
        page.keyboard.press("i")
        page.locator(PANEL).get_by_role("button", name="Undo Eiffel Tower").click()
        expect(page.locator(STATUS)).to_have_text("Eiffel Tower: verdict withdrawn")
        star = page.locator("#lightbox").get_by_role("button", name="Favourite")
        page.keyboard.press("f")
        expect(page.locator(STATUS)).to_have_text("Added to favourites")
        expect(star).to_have_attribute("aria-pressed", "true")
        page.keyboard.press("Escape")
        expect(page.locator("[data-mark]")).to_have_count(0)
        expect(page.locator('[data-photo="2"] .photo-tile-favourite')).to_have_count(1)
        page.reload()
        open_photo(page, 2)
        star.click()
        expect(page.locator(STATUS)).to_have_text("Removed from favourites")
        expect(page.locator(".photo-tile-favourite")).to_have_count(0)
        held: list[Route] = []
        page.route("**/api/favourites", lambda route: held.append(route), times=1)  # noqa: PLW0108 - as below
        for _ in range(2):
            page.keyboard.press("f")
        assert verdicts_of(page, address, 2) == verdicts_of(page, address, 3) == {}
        held.pop().continue_()
        page.wait_for_load_state("networkidle")
        page.reload()
        expect(star).to_have_attribute("aria-pressed", "false")


@pytest.mark.slow
def test_keys_after_a_step_are_for_the_photo_that_it_leads_to(browser, address):
    waiting: list[Route] = []
    with open_page(browser, f"{address}/landmarks/{EIFFEL}") as page:
        page.route("**/timeline?*", lambda route: waiting.append(route))  # noqa: PLW0108 - Playwright sets an attribute
        page.goto(f"{address}/photos/2?landmark={EIFFEL}&within=1")
        page.wait_for_function(SHOWN)
        for key in ("ArrowRight", "ArrowRight", "r", "ArrowRight", "c"):
            page.keyboard.press(key)
        expect(page.locator(STATUS)).to_have_text("Photo: Eiffel Tower")
        page.route("**/timeline?*", lambda route: route.continue_())
        for route in waiting:
            route.continue_()
        expect(page.locator(STATUS)).to_have_text("Eiffel Tower confirmed")
        assert page.url.startswith(f"{address}/photos/5?")
        given = [verdicts_of(page, address, number) for number in (2, 3, 4, 5)]
        assert given == [{}, {}, {EIFFEL: "rejected"}, {EIFFEL: "confirmed"}]
        page.keyboard.press("u")
        expect(page.locator(STATUS)).to_have_text("Eiffel Tower: verdict withdrawn")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("u")
        expect(page.locator(STATUS)).to_have_text("Eiffel Tower: verdict withdrawn")
        assert all(verdicts_of(page, address, number) == {} for number in (4, 5))


@pytest.mark.slow
def test_the_photo_itself_is_loaded_when_it_is_enlarged(browser, address):
    with open_page(browser, f"{address}/landmarks/{EIFFEL}") as page:
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        open_photo(page, 2)
        box = page.locator("[data-stage]").bounding_box()
        page.mouse.move(box["x"] + 300, box["y"] + 200)
        assert page.evaluate(TRANSFORM) == ""
        page.mouse.wheel(0, -500)
        page.wait_for_function(f"() => ({TRANSFORM})().includes('scale(2.1')")
        page.wait_for_function("() => document.querySelector('[data-stage] img').src.endsWith('/image')")
        assert [url for url in requests if url.endswith("/image")] == [f"{address}/api/photos/2/image"]
        before = page.evaluate(TRANSFORM)
        page.mouse.down()
        page.mouse.move(box["x"] + 330, box["y"] + 220, steps=3)
        page.mouse.up()
        assert page.evaluate(TRANSFORM) != before
        page.keyboard.press("Shift+ArrowRight")
        page.keyboard.press("0")
        assert page.evaluate(TRANSFORM) == ""
        page.keyboard.press("+")
        assert "scale(1.5)" in page.evaluate(TRANSFORM)
        page.keyboard.press("ArrowRight")
        page.wait_for_url("**/photos/3?**")
        assert page.evaluate(TRANSFORM) == ""
        for transform in ("scale(2.5)", ""):
            page.locator("[data-stage]").dblclick(position={"x": 400, "y": 200})
            assert transform in page.evaluate(TRANSFORM)


class Fingers:
    def __init__(self, page: Page) -> None:
        self._session = page.context.new_cdp_session(page)
        self._time_s = time.time()

    def drag(self, *paths: tuple[tuple[int, int], tuple[int, int]], lifts: bool = True) -> None:
        """Move a finger along each path, at the same time; they stay at its end unless they are lifted."""
        self._send("touchStart", [start for start, _ in paths])
        for step in range(1, 9) if any(start != end for start, end in paths) else ():
            self._send(
                "touchMove", [(_between(a, c, step), _between(b, d, step)) for (a, b), (c, d) in paths]
            )
        if lifts:
            self.lift()

    def lift(self) -> None:
        self._send("touchEnd", [])

    def _send(self, kind: str, points: list[tuple[int, int]]) -> None:
        """Each touch is 10 ms after the last one, so that two taps are a double tap."""
        self._time_s += 0.01
        touches = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        event = {"type": kind, "touchPoints": touches, "timestamp": self._time_s}
        self._session.send("Input.dispatchTouchEvent", event)


def _between(start: int, end: int, step: int) -> int:
    return start + (end - start) * step // 8


@pytest.mark.slow
def test_on_a_phone_fingers_lead_on_enlarge_and_close(browser, address):
    with open_page(browser, f"{address}/landmarks/{EIFFEL}", screen=PHONE) as page:
        page.locator("[data-grid][data-drawn]").wait_for()
        page.locator('[data-photo="2"] a').tap()
        page.wait_for_function(SHOWN)
        cut = "(e) => e.scrollWidth > e.clientWidth || e.scrollHeight > e.clientHeight"
        expect(page.locator("#lightbox-title")).to_have_text("3 June 2024, 14:05")
        for moment in ("26 September 2019, 17:26", "26 de septiembre de 2019, 17:26"):
            page.locator("#lightbox-title").evaluate("(e, text) => (e.textContent = text)", moment)
            assert not page.locator("#lightbox-title").evaluate(cut), moment
        fingers, stage = Fingers(page), page.locator("[data-stage]")
        fingers.drag(((300, 400), (80, 410)), lifts=False)
        expect(stage.get_by_alt_text("14:04")).to_be_in_viewport(
            ratio=0.4
        )  # beside the other, as far as it is moved
        expect(stage.get_by_alt_text("14:05")).to_be_in_viewport()
        fingers.lift()
        page.wait_for_url("**/photos/3?**")
        expect(stage.get_by_role("img")).to_have_count(1)
        fingers.drag(((80, 400), (300, 390)))
        page.wait_for_url("**/photos/2?**")
        page.wait_for_function(SHOWN)
        fingers.drag(((180, 400), (100, 400)), ((220, 400), (300, 400)))
        page.wait_for_function(f"() => ({TRANSFORM})().includes('scale(5')")
        fingers.drag(((180, 400), (300, 400)))  # moves the enlarged photo
        expect(page.locator(STATUS)).to_have_text(f"Photo 2 of {PHOTOS}: Eiffel Tower")
        for _ in range(2):
            fingers.drag(((190, 300), (190, 300)))
        page.wait_for_function(f"() => ({TRANSFORM})() === ''")
        fingers.drag(((200, 500), (205, 300)))
        expect(page.locator(f"{PANEL} #facts")).to_contain_text("photo-1.jpg")
        expect(page.get_by_role("button", name="Details")).to_have_attribute("aria-expanded", "true")
        assert axe_findings(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE.width
        fingers.drag(((200, 100), (205, 300)))
        expect(page.locator(PANEL)).to_be_hidden()
        fingers.drag(((200, 250), (205, 500)))
        expect(page.locator("#lightbox")).to_be_hidden()
        assert page.url == f"{address}/landmarks/{EIFFEL}"


@pytest.mark.slow
def test_a_slide_show_goes_on_to_the_last_photo(browser, address):
    with open_page(browser, "about:blank", base=address) as page:
        page.clock.install()
        page.goto(f"{address}/photos?any_rank=1")
        open_photo(page, PHOTOS - 3)
        page.keyboard.press("p")
        play = page.get_by_role("button", name="Slide show")
        expect(play).to_have_attribute("aria-pressed", "true")
        for number in (5, 6):
            page.clock.run_for(4000)
            expect(page.locator(STATUS)).to_contain_text(f"Photo {number} of {PHOTOS}")
            page.wait_for_function(SHOWN)
        page.clock.run_for(4000)
        expect(play).to_have_attribute("aria-pressed", "false")


@pytest.mark.slow
def test_a_note_leaves_though_the_pointer_rests_where_it_appears(browser, address):
    with open_page(browser, f"{address}/photos?any_rank=1", base=address) as page:
        page.clock.install()
        open_photo(page, 1)
        page.mouse.move(WINDOW.width / 2, WINDOW.height - 40)
        page.keyboard.press("r")
        note = page.locator("#lightbox .toast")
        expect(note).to_contain_text("Eiffel Tower rejected")
        box = note.bounding_box()
        assert box["y"] < WINDOW.height - 40 < box["y"] + box["height"]
        page.clock.run_for(7000)
        expect(note).to_have_count(0)
