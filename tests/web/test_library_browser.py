"""The library in a browser: an endless grid, and accessible pages."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from rig.large_library import make_library
from support.browser import PHONE, Screen, axe_findings, open_page, serving
from support.library_photos import EIFFEL, GATE, VERSAILLES, picture
from support.page_server import library_in, settings_in

PHOTOS = 280
SHOWN = 261  # the others are copies, gone or not classified
SMALL_WINDOW = Screen(720, 450)
# Constants of the grid and smaller values, with which few photos are as many for it as 100,000.
SMALLER = {"timeline.js": {"CHUNK = 100": "CHUNK = 20", "MAX_PHOTOS = 6000": "MAX_PHOTOS = 120"}}
TILES = """() => {
  const tiles = [...document.querySelectorAll("[data-grid] > .photo-tile")];
  if (!tiles.length || tiles.some((tile) => !tile.dataset.photo)) return null;
  return tiles.map((tile) => ({ number: Number(tile.getAttribute("aria-posinset")), photo: Number(tile.dataset.photo) }));
}"""
# Scroll, and wait until the grid was drawn there.
SCROLL_ON = """() => {
  scrollBy(0, 0.8 * innerHeight);
  return new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
}"""
DRAWN = "() => document.querySelector('[data-drawn]') !== null"
LOADED = "() => performance.getEntriesByType('resource').map((entry) => entry.name)"


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    settings = settings_in(tmp_path_factory.mktemp("small"))
    with library_in(settings) as library:
        for n, slug in enumerate((EIFFEL, EIFFEL, GATE, VERSAILLES)):
            library.file(f"photo-{n}.jpg", (slug, 0.9, True), data=picture((60 * n, 120, 200 - 40 * n)))
        library.file("copy.jpg", (EIFFEL, 0.9, True), data=picture((0, 120, 200)))
        library.file("nothing.jpg", (EIFFEL, 0.2, False), data=picture((20, 20, 20)))
        library.photo("new.jpg", classified=False)
    with serving(settings) as url:
        yield url


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Iterator[str]:
    """The address of a library of PHOTOS photos without files."""
    folder = tmp_path_factory.mktemp("many")
    url = f"sqlite:///{folder / 'many.sqlite'}"
    make_library(url, PHOTOS).close()
    settings = settings_in(folder).model_copy(update={"database_url": url, "model": None})
    with serving(settings) as address:
        yield address


def open_grid(page: Page, address: str, **constants: str) -> None:
    """Open the grid of all photos with smaller constants. Every thumbnail is the same picture."""
    for name, replacements in {**SMALLER, **({"grid.js": constants} if constants else {})}.items():
        script = (Path(__file__).parents[2] / "tagger/web/static" / name).read_text()
        for constant, replacement in replacements.items():
            assert script.count(f"const {constant};") == 1
            script = script.replace(f"const {constant};", f"const {replacement};")
        _serve_script(page, name, script)
    thumbnail = picture(kind="PNG")
    page.route("**/thumbnail?*", lambda route: route.fulfill(content_type="image/png", body=thumbnail))
    page.goto(f"{address}/photos?any_rank=1")
    page.wait_for_function(DRAWN)


def loaded_tiles(page: Page) -> list[dict[str, int]]:
    """Return the tiles of the grid, once all of them have their photo."""
    tiles: list[dict[str, int]] = page.wait_for_function(TILES).json_value()
    return tiles


def _serve_script(page: Page, name: str, script: str) -> None:
    page.route(f"**/{name}*", lambda route: route.fulfill(content_type="text/javascript", body=script))


def scroll_to_the_end(page: Page, photos: int) -> None:
    page.wait_for_function(
        """(photos) => {
          scrollTo(0, document.documentElement.scrollHeight);
          return Number(document.querySelector("[data-grid] > [data-photo]:last-child")?.getAttribute("aria-posinset")) >= photos;
        }""",
        arg=photos,
        timeout=60_000,
    )


def test_the_grid_goes_through_all_photos_with_few_of_them_in_the_page(browser, many):
    with open_page(browser, "about:blank", screen=SMALL_WINDOW) as page:
        query = "any_rank=1&sort=newest&distinct=1&limit=1000"
        expected = [photo["id"] for photo in page.request.get(f"{many}/api/photos?{query}").json()["photos"]]
        open_grid(page, many)
        seen: dict[int, int] = {}
        for _ in range(SHOWN):  # far more screens than there are
            tiles = loaded_tiles(page)
            assert len(tiles) < 120
            seen |= {tile["number"]: tile["photo"] for tile in tiles}
            if len(seen) == len(expected):
                break
            page.evaluate(SCROLL_ON)
        assert [seen[number] for number in sorted(seen)] == expected
        assert len(expected) == SHOWN
        assert page.evaluate("document.querySelectorAll('[data-grid] *').length") < 500
        # Going back leads to where one was.
        page.goto(f"{many}/search")
        page.go_back()
        page.wait_for_function(
            "(photo) => document.querySelector(`[data-photo='${photo}']`)",
            arg=tiles[len(tiles) // 2]["photo"],
        )


@pytest.mark.slow
def test_far_photos_are_forgotten_and_come_back_where_they_were(browser, many):
    with open_page(browser, "about:blank", screen=SMALL_WINDOW) as page:
        open_grid(page, many)
        first = loaded_tiles(page)
        scroll_to_the_end(page, SHOWN)
        page.evaluate("scrollTo(0, 0)")
        photo = "(photo) => Number(document.querySelector('.photo-tile').dataset.photo) === photo"
        page.wait_for_function(photo, arg=first[0]["photo"])
        assert loaded_tiles(page) == first
        loaded = "document.querySelector('[data-grid]').photoGrid.photos.loaded().length"
        assert page.evaluate(loaded) <= 120
        # What is on the screen stays there when photos above are loaded.
        page.evaluate("document.querySelector('[data-grid]').photoGrid.goToPhoto(150, 60)")
        loaded_tiles(page)
        tile = page.locator('[aria-posinset="151"]')
        before = tile.bounding_box()
        page.evaluate(
            """() => {
              const grid = document.querySelector("[data-grid]").photoGrid;
              const above = grid.photos.chunks.filter((chunk) => chunk.start + chunk.count <= 100);
              for (const chunk of above) [chunk.photos, chunk.layout] = [null, null];
              return Promise.all(above.map((chunk) => grid.loadAndDraw(chunk)));
            }"""
        )
        after = tile.bounding_box()
        assert after["y"] == pytest.approx(before["y"], abs=1)


@pytest.mark.slow
def test_a_grid_taller_than_browsers_draw_moves_its_window(browser, many):
    with open_page(browser, "about:blank", screen=SMALL_WINDOW) as page:
        open_grid(page, many, **{"MAX_HEIGHT_PX = 8_000_000": "MAX_HEIGHT_PX = 5_000"})
        first = loaded_tiles(page)[0]["photo"]
        scroll_to_the_end(page, SHOWN)
        assert page.evaluate("document.documentElement.scrollHeight") < 6_000
        page.wait_for_function(
            """(photo) => {
              scrollBy(0, -innerHeight);
              return scrollY === 0 && Number(document.querySelector(".photo-tile").dataset.photo) === photo;
            }""",
            arg=first,
            timeout=60_000,
        )


def test_the_grid_and_its_months_are_used_by_keyboard_and_mouse(browser, many):
    with open_page(browser, "about:blank", screen=SMALL_WINDOW) as page:
        open_grid(page, many)
        page.locator(".photo-tile > a").first.focus()
        here = "() => Number(document.activeElement.closest('li')?.getAttribute('aria-posinset'))"
        top = "() => document.activeElement.closest('li').box.top"
        page.keyboard.press("ArrowRight")
        assert page.evaluate(here) == 2
        first_row = page.evaluate(top)
        page.keyboard.press("ArrowDown")
        assert page.evaluate(top) > first_row
        page.keyboard.press("ArrowUp")
        assert page.evaluate(top) == first_row
        for _ in range(8):
            page.keyboard.press("ArrowDown")
            page.wait_for_function("() => document.activeElement.matches('.photo-tile > a')")
        expect(page.locator(".photo-tile > a:focus")).to_be_in_viewport()
        page.keyboard.press("End")
        page.wait_for_function(f"() => ({here})() === {SHOWN}")
        page.keyboard.press("Home")
        page.wait_for_function(f"() => ({here})() === 1")
        scale = page.get_by_role("slider", name="Month")
        text = "aria-valuetext"
        expect(scale).to_have_attribute(text, re.compile(r"December 2019, \d+ photos$"))
        latest = (scale.get_attribute(text) or "").partition(",")[0]
        scale.focus()
        page.keyboard.press("ArrowDown")
        expect(scale).not_to_have_attribute(text, re.compile(f"^{latest},"))
        month = (scale.get_attribute(text) or "").partition(",")[0]
        expect(page.get_by_role("heading", name=month)).to_be_in_viewport()
        page.keyboard.press("PageDown")
        expect(scale).not_to_have_attribute(text, re.compile(f"^{month},"))
        page.keyboard.press("End")
        expect(page.get_by_role("heading", name="No date")).to_be_in_viewport()
        loaded_tiles(page)
        assert axe_findings(page) == []
        track, handle = scale.bounding_box(), page.locator(".scrubber-thumb").bounding_box()
        page.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2)
        page.mouse.down()
        page.mouse.move(handle["x"], track["y"], steps=4)
        page.mouse.up()
        expect(page.get_by_role("heading", name=latest)).to_be_in_viewport()
        # Photos that are not loaded are selected, too.
        page.keyboard.press("Control+a")
        selected = page.locator('.action-bar [role="status"]')
        expect(selected).to_have_text(f"{SHOWN} photos selected")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Select", exact=True).click()
        page.locator(".photo-tile").first.click()
        page.keyboard.press("End")
        last = page.locator(f'.photo-tile[data-photo][aria-posinset="{SHOWN}"]')
        last.locator("a").click(modifiers=["Shift"])
        expect(selected).to_have_text(f"{SHOWN} photos selected")


@pytest.mark.slow
def test_an_address_inside_leads_there_and_on_photo_by_photo(browser, many):
    with open_page(browser, "about:blank", base=many) as page:
        open_grid(page, many)
        query = "any_rank=1&sort=newest&distinct=1"
        first = page.request.get(f"/api/photos?{query}&limit=150").json()
        rest = page.request.get(f"/api/photos?{query}&limit=1000&after={first['next']}").json()["photos"]
        expected = [photo["id"] for photo in rest]
        page.goto(f"/photos?any_rank=1&after={first['next']}")
        page.wait_for_function(DRAWN)
        seen = [tile["photo"] for tile in loaded_tiles(page)]
        begin = seen.index(expected[0])  # photos before it are in the document, too
        assert seen[begin:] == expected[: len(seen) - begin]
        expect(page.locator(f'[data-photo="{expected[0]}"]')).to_be_in_viewport()
        page.locator(f'[data-photo="{expected[5]}"] a').click()
        page.wait_for_url(f"**/photos/{expected[5]}?**")
        for key, position in (("ArrowRight", 6), ("ArrowRight", 7), ("ArrowLeft", 6)):
            page.keyboard.press(key)
            page.wait_for_url(f"**/photos/{expected[position]}?**")


@pytest.mark.slow
def test_each_visit_of_an_address_has_its_own_place(browser, many):
    with open_page(browser, "about:blank", screen=SMALL_WINDOW) as page:
        open_grid(page, many)
        scroll_to_the_end(page, SHOWN // 2)
        tile = loaded_tiles(page)[3]
        page.locator(f'[data-photo="{tile["photo"]}"] > a').focus()
        page.goto(f"{many}/places")
        page.goto(f"{many}/photos?any_rank=1")
        page.wait_for_function(DRAWN)
        assert page.evaluate("scrollY") == 0
        page.go_back()
        page.go_back()
        page.wait_for_function(
            "(photo) => document.activeElement.closest('[data-photo]')?.dataset.photo === String(photo)",
            arg=tile["photo"],
        )
        expect(page.locator(f'[data-photo="{tile["photo"]}"]')).to_be_in_viewport()


@pytest.mark.slow
def test_an_unreachable_server_is_reported_and_retried(browser, many):
    with browser.new_context() as context:
        page = context.new_page()  # the browser logs failed requests as errors
        page.route("**/api/timeline/photos?*", lambda route: route.abort())
        page.goto(f"{many}/photos?any_rank=1")
        expect(page.locator("[data-grid] > .photo-tile").first).to_be_visible()  # those of the page itself
        page.wait_for_function(
            "() => { scrollTo(0, document.documentElement.scrollHeight); return scrollY > 0; }"
        )
        expect(page.get_by_role("status").filter(has_text="could not be loaded")).to_be_visible()
        page.unroute("**/api/timeline/photos?*")
        page.get_by_role("button", name="Try again").click()
        page.wait_for_function(DRAWN)
        scroll_to_the_end(page, 80)


def test_filters_show_their_photos_at_once_and_back_undoes_each(browser, address):
    with open_page(browser, f"{address}/photos?sort=name") as page:
        tiles = page.locator("[data-grid] > .photo-tile")
        expect(tiles).to_have_count(4)
        page.evaluate("window.isSamePage = true")
        page.get_by_role("button", name="Filter 1 set", exact=True).click()
        expect(page.get_by_role("button", name="Close")).to_be_focused()
        gate = page.get_by_label("Brandenburg Gate")
        gate.focus()
        page.keyboard.press("Space")
        expect(tiles).to_have_count(1)
        expect(page.get_by_role("status").filter(has_text="1 photo")).to_be_visible()
        expect(page).to_have_url(f"{address}/photos?landmark=brandenburg-gate&sort=name")
        expect(gate).to_be_focused()
        expect(page.get_by_role("group", name="Country").get_by_label("Germany")).to_be_visible()
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Space")
        expect(tiles).to_have_count(3)
        expect(page.get_by_label("Eiffel Tower")).to_be_focused()
        expect(page).to_have_url(
            f"{address}/photos?landmark=eiffel-tower&landmark=brandenburg-gate&sort=name"
        )
        page.go_back()
        expect(tiles).to_have_count(1)
        expect(gate).to_be_checked()
        assert axe_findings(page) == []
        page.go_back()
        expect(tiles).to_have_count(4)
        expect(gate).not_to_be_checked()
        assert page.evaluate("window.isSamePage")


def test_the_filter_is_a_sheet_on_a_phone(browser, address):
    with open_page(browser, f"{address}/photos", screen=PHONE) as page:
        page.get_by_role("button", name="Filter 1 set", exact=True).click()
        sheet = page.get_by_role("dialog", name="Filter")
        sheet.get_by_label("Brandenburg Gate").check()
        expect(page.locator(".filtered-count")).to_have_text("1 photo")
        assert axe_findings(page) == []
        sheet.evaluate("sheet => sheet.scrollTo(0, sheet.scrollHeight)")
        expect(sheet.get_by_role("button", name="Close")).to_be_in_viewport(ratio=1)
        sheet.get_by_role("button", name="Show photos").click()
        expect(sheet).to_have_count(0)
        expect(page.get_by_role("button", name="Filter 1")).to_be_focused()


SHIFTS = """window.shifted = 0;
new PerformanceObserver((list) => list.getEntries().forEach((each) => (window.shifted += each.value))).observe({ type: "layout-shift", buffered: true });"""


@pytest.mark.slow
def test_photos_stay_where_they_are_first_shown(browser, address):
    with open_page(browser, "about:blank", base=address) as page:
        page.add_init_script(SHIFTS)
        for path in ("/photos?any_rank=1", "/photos/1"):
            page.goto(path)
            page.locator("[data-grid][data-drawn]").wait_for(state="attached")
            page.wait_for_load_state("networkidle")
            assert page.evaluate("window.shifted") < 0.1, path


@pytest.mark.parametrize(
    "screen",
    [pytest.param(Screen(1024, 400), id="window"), pytest.param(PHONE, id="phone", marks=pytest.mark.slow)],
)
def test_the_grid_is_where_it_is_before_its_scripts_run(browser, many, screen):
    places = set()
    for script in (False, True):
        with open_page(browser, f"{many}/photos?any_rank=1", screen=screen, script=script) as page:
            if script:
                page.locator(".scrubber").wait_for()
                page.get_by_role("button", name="Select").wait_for()
            box = page.locator("[data-grid]").bounding_box()
            assert box
            places.add((box["width"], box["y"]))
    assert len(places) == 1


@pytest.mark.slow
def test_the_grid_is_drawn_before_the_scripts_that_it_does_not_need(browser, many):
    with open_page(browser, f"{many}/photos?any_rank=1") as page:
        page.wait_for_function(DRAWN)
        page.wait_for_load_state("networkidle")
        names = page.evaluate(LOADED)
    scripts = [name.rsplit("/")[-1] for name in names if ".js" in name]
    assert scripts.index("grid.js") < min(map(scripts.index, ("select.js", "search.js", "lightbox.js")))
    assert not any("vendor/" in name for name in names)
    timeline = [name for name in names if "/timeline" in name]
    assert len(timeline) == len(set(timeline)) >= 2  # those that the page preloads are used
