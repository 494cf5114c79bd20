"""The library in a browser: an endless grid, and accessible pages."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest
from playwright.sync_api import Browser, Page, Route, expect
from rig.large_library import make_library
from support.browser import PHONE, Screen, axe_findings, open_page, serving
from support.library_photos import EIFFEL, GATE, VERSAILLES, LibraryPhotos, picture
from support.page_server import settings_in

from tagger.database.connection import Database, open_database
from tagger.settings import Settings
from tagger.web.pages import overview

PHOTOS = 280
SHOWN = 261  # the others are copies, gone or not classified
SMALL_WINDOW = Screen(720, 450)
SMALLER = {"timeline.js": {"CHUNK = 100": "CHUNK = 20", "MAX_CHUNKS = 60": "MAX_CHUNKS = 6"}}
"""Constants of the grid and their values in these tests, so that few photos are as many for it as 100,000 are with the real values."""
TILES = """() => {
  const tiles = [...document.querySelectorAll("[data-grid] > .photo-tile")];
  if (!tiles.length || tiles.some((tile) => !tile.dataset.photo)) return null;
  return tiles.map((tile) => ({ number: Number(tile.getAttribute("aria-posinset")), photo: Number(tile.dataset.photo) }));
}"""
ON_SCREEN = """() => [...document.querySelectorAll(".photo-tile")].filter((tile) => {
  const box = tile.getBoundingClientRect();
  return box.bottom > document.querySelector("header.site").offsetHeight && box.top < innerHeight;
}).map((tile) => tile.dataset.photo)"""
SCROLL_ON = """() => {
  scrollBy(0, 0.8 * innerHeight);
  return new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
}"""
"""Scroll, and wait until the grid was drawn there."""
DRAWN = "() => document.querySelector('[data-drawn]') !== null"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a small library with files."""
    folder = tmp_path_factory.mktemp("small")
    settings = settings_in(folder)
    with closing(open_database(settings.effective_database_url)) as database:
        library = LibraryPhotos(database, settings, folder / "photos")
        for n, slug in enumerate((EIFFEL, EIFFEL, GATE, VERSAILLES)):
            library.file(f"photo-{n}.jpg", (slug, 0.9, True), data=picture((60 * n, 120, 200 - 40 * n)))
        library.file("nothing.jpg", (EIFFEL, 0.2, False), data=picture((20, 20, 20)))
    with serving(settings) as url:
        yield url


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
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
    """Scroll down until the grid has this many photos."""
    page.wait_for_function(
        """(photos) => {
          scrollTo(0, document.documentElement.scrollHeight);
          return Number(document.querySelector("[data-grid] > [data-photo]:last-child")?.getAttribute("aria-posinset")) >= photos;
        }""",
        arg=photos,
        timeout=60_000,
    )


# ---------- the grid ----------


def test_the_grid_goes_through_all_photos_with_few_of_them_in_the_page(browser: Browser, many: str) -> None:
    with open_page(browser, "about:blank", screen=SMALL_WINDOW) as page:
        query = "any_rank=1&sort=newest&distinct=1"
        expected = [photo["id"] for photo in _all_photos(page, f"{many}/api/photos?{query}")]
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
def test_far_photos_are_forgotten_and_come_back_where_they_were(browser: Browser, many: str) -> None:
    with open_page(browser, "about:blank", screen=SMALL_WINDOW) as page:
        open_grid(page, many)
        first = loaded_tiles(page)
        scroll_to_the_end(page, SHOWN)
        page.evaluate("scrollTo(0, 0)")
        photo = "(photo) => Number(document.querySelector('.photo-tile').dataset.photo) === photo"
        page.wait_for_function(photo, arg=first[0]["photo"])
        assert loaded_tiles(page) == first
        loaded = "document.querySelector('[data-grid]').photoGrid.photos.chunks.filter((chunk) => chunk.photos).length"
        assert page.evaluate(loaded) <= 8


@pytest.mark.slow
def test_what_is_on_the_screen_stays_there_when_photos_above_are_loaded(browser: Browser, many: str) -> None:
    with open_page(browser, "about:blank", screen=SMALL_WINDOW) as page:
        open_grid(page, many)
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
        assert before is not None
        assert after is not None
        assert after["y"] == pytest.approx(before["y"], abs=1)


@pytest.mark.slow
def test_a_grid_taller_than_browsers_draw_moves_its_window(browser: Browser, many: str) -> None:
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


def test_the_grid_and_its_months_are_used_by_keyboard_and_mouse(browser: Browser, many: str) -> None:
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
        expect(scale).to_have_attribute("aria-valuetext", "November 2001, 10 photos")
        scale.focus()
        page.keyboard.press("ArrowDown")
        expect(scale).to_have_attribute("aria-valuetext", re.compile("October 2001"))
        expect(page.get_by_role("heading", name="October 2001")).to_be_in_viewport()
        page.keyboard.press("PageDown")
        expect(scale).to_have_attribute("aria-valuetext", re.compile("December 2000"))
        page.keyboard.press("End")
        expect(page.get_by_role("heading", name="No date")).to_be_in_viewport()
        loaded_tiles(page)
        assert axe_findings(page) == []
        track, handle = scale.bounding_box(), page.locator(".scrubber-thumb").bounding_box()
        assert track is not None
        assert handle is not None
        page.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2)
        page.mouse.down()
        page.mouse.move(handle["x"], track["y"], steps=4)
        page.mouse.up()
        expect(page.get_by_role("heading", name="November 2001")).to_be_in_viewport()
        # Photos that are not loaded are selected, too.
        page.keyboard.press("Control+a")
        selected = page.locator('.action-bar [role="status"]')
        expect(selected).to_have_text(f"{SHOWN} photos selected", timeout=60_000)
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Select", exact=True).click()
        page.locator(".photo-tile").first.click()
        page.keyboard.press("End")
        last = page.locator(f'.photo-tile[data-photo][aria-posinset="{SHOWN}"]')
        last.locator("a").click(modifiers=["Shift"])
        expect(selected).to_have_text(f"{SHOWN} photos selected", timeout=60_000)


@pytest.mark.slow
def test_thumbnails_on_the_screen_are_requested_first(browser: Browser, many: str) -> None:
    with open_page(browser, "about:blank", screen=SMALL_WINDOW) as page:
        open_grid(page, many)
        page.evaluate("document.querySelector('[data-grid]').photoGrid.goToPhoto(130, 60)")
        page.wait_for_load_state("networkidle")
        requested: list[str] = []
        page.on(
            "request",
            lambda request: "thumbnail" in request.url and requested.append(request.url.split("/")[5]),
        )
        page.evaluate("scrollBy(0, 1.8 * innerHeight)")  # to photos without thumbnails yet
        page.wait_for_load_state("networkidle")
        loaded_tiles(page)
        page.wait_for_function(
            "() => [...document.querySelectorAll('.photo-tile img')].every((image) => image.complete)"
        )
        on_screen = page.evaluate(ON_SCREEN)
        assert len(on_screen) > 3
        assert set(requested[: len(on_screen)]) == set(on_screen)


@pytest.mark.slow
def test_each_visit_of_an_address_has_its_own_place(browser: Browser, many: str) -> None:
    with open_page(browser, "about:blank", screen=SMALL_WINDOW) as page:
        open_grid(page, many)
        scroll_to_the_end(page, SHOWN // 2)
        tile = loaded_tiles(page)[3]
        page.locator(f'[data-photo="{tile["photo"]}"] > a').focus()
        page.goto(f"{many}/library")
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
def test_a_tile_moves_calmly_until_its_thumbnail_is_there(browser: Browser, address: str) -> None:
    held: list[Route] = []
    shade = "getComputedStyle(document.querySelector('[data-grid] > .photo-tile'), '::after')"
    with open_page(browser, "about:blank") as page:
        page.route("**/thumbnail?*", lambda route: held.append(route))  # noqa: PLW0108 - a handler needs attributes
        page.goto(f"{address}/photos?sort=name", wait_until="domcontentloaded")
        page.wait_for_function(DRAWN)
        loading = page.locator("[data-grid] > .photo-tile[data-loading]")
        expect(loading).to_have_count(4)
        assert page.evaluate(f"{shade}.animationName") == "breathe"
        page.emulate_media(reduced_motion="reduce")
        assert page.evaluate(f"{shade}.animationIterationCount") == "1"
        assert axe_findings(page) == []
        for route in held:
            route.continue_()
        expect(loading).to_have_count(0)
        assert page.evaluate(f"{shade}.content") == "none"


@pytest.mark.slow
def test_an_unreachable_server_is_reported_and_retried(browser: Browser, many: str) -> None:
    with browser.new_context() as context:
        page = context.new_page()  # the browser logs failed requests as errors
        page.route("**/api/timeline/photos?*", lambda route: route.abort())
        page.goto(f"{many}/photos?any_rank=1")
        expect(page.get_by_role("status").filter(has_text="could not be loaded")).to_be_visible()
        expect(page.locator("[data-grid] > .photo-tile")).to_have_count(60)  # those of the page itself
        page.unroute("**/api/timeline/photos?*")
        page.get_by_role("button", name="Try again").click()
        page.wait_for_function(DRAWN)
        scroll_to_the_end(page, 80)


@pytest.mark.slow
def test_a_landmark_and_the_lightbox_count_copies_once(
    browser: Browser, web_settings: Settings, web_database: Database, tmp_path: Path
) -> None:
    library = LibraryPhotos(web_database, web_settings, tmp_path / "photos")
    for name in ("a.jpg", "copy.jpg"):
        library.file(name, (EIFFEL, 0.9, True), digest="same")
    library.file("b.jpg", (EIFFEL, 0.8, True), data=picture((9, 9, 9)))
    library.verdict("same", EIFFEL, "confirmed")
    with serving(web_settings) as address, open_page(browser, f"{address}/landmarks/{EIFFEL}") as page:
        page.wait_for_function(DRAWN)
        expect(page.locator(".landmark-head")).to_contain_text("2 photos, copies counted once")
        page.get_by_role("link", name=re.compile(r"Eiffel Tower, a\.jpg\s*confirmed\s*2\s*copies")).click()
        expect(page.locator("#lightbox [data-status]")).to_contain_text("of 2: Eiffel Tower")


@pytest.mark.slow
def test_covers_that_take_long_come_by_themselves(
    browser: Browser,
    web_settings: Settings,
    web_database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    LibraryPhotos(web_database, web_settings, tmp_path / "photos").file("a.jpg", (EIFFEL, 0.9, True))
    may_end, find_covers = Event(), overview.find_covers
    monkeypatch.setattr(overview, "find_covers", lambda database: may_end.wait(60) and find_covers(database))
    with serving(web_settings) as address, open_page(browser, f"{address}/library") as page:
        expect(page.get_by_role("status").filter(has_text="Choosing covers")).to_be_visible()
        expect(page.locator(".cover img")).to_have_count(0)
        may_end.set()
        expect(page.locator(".cover img")).to_have_count(1, timeout=30_000)
        expect(page.locator("#summary")).to_have_text("1 landmark")
        expect(page.get_by_text("Choosing covers")).to_have_count(0)


def test_filters_show_their_photos_at_once_and_back_undoes_each(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/photos?sort=name") as page:
        tiles = page.locator("[data-grid] > .photo-tile")
        expect(tiles).to_have_count(4)
        page.evaluate("window.isSamePage = true")
        page.get_by_role("link", name="Filter 1 set", exact=True).click()
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


@pytest.mark.slow
def test_a_filtered_grid_selects_and_opens_its_photos(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/photos") as page:
        tiles = page.locator("[data-grid] > .photo-tile")
        page.get_by_role("link", name="Filter 1 set", exact=True).click()
        page.get_by_label("Eiffel Tower").check()
        expect(tiles).to_have_count(2)
        expect(page.locator("[data-grid][data-drawn]")).to_have_count(1)
        tiles.nth(1).locator("a").click()
        expect(page.get_by_role("dialog")).to_contain_text("2 of 2")
        page.go_back()
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(page).to_have_url(f"{address}/photos?landmark=eiffel-tower")
        expect(tiles.nth(1).locator("a")).to_be_focused()
        page.keyboard.press("Control+a")
        expect(page.get_by_text("2 photos selected")).to_have_count(1)
        page.keyboard.press("Escape")
        page.get_by_role("link", name="Remove filter Eiffel Tower").click()
        expect(tiles).to_have_count(5)
        expect(page).to_have_url(f"{address}/photos?any_rank=1")
        expect(page.get_by_role("checkbox", name="Eiffel Tower")).not_to_be_checked()
        expect(page.get_by_role("heading", level=1)).to_have_text("All classified photos")
        page.get_by_role("radio", name="With a landmark").check()
        expect(page.get_by_role("heading", level=1)).to_have_text("Photos with a landmark")
        page.get_by_role("link", name="Remove filter with a landmark").click()
        expect(page).to_have_url(f"{address}/photos?any_rank=1")


@pytest.mark.slow
def test_a_grid_of_several_landmarks_asks_which_one_to_confirm(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/photos?landmark={EIFFEL}&landmark={GATE}") as page:
        page.locator("[data-grid][data-drawn]").wait_for()
        page.keyboard.press("Control+a")
        expect(page.get_by_text("3 photos selected")).to_have_count(1)
        expect(page.get_by_role("button", name="Name landmark…")).to_be_visible()
        expect(page.get_by_role("button", name="Reject")).to_have_count(0)


@pytest.mark.slow
def test_folders_of_the_filter_open_without_being_chosen(
    browser: Browser, web_settings: Settings, web_database: Database, tmp_path: Path
) -> None:
    library = LibraryPhotos(web_database, web_settings, tmp_path / "photos")
    for n, name in enumerate(("x/y/a.jpg", "x/b.jpg", "z/c.jpg")):
        library.file(name, (EIFFEL, 0.9, True), data=picture((50 * n, 120, 90)))
    with serving(web_settings) as address, open_page(browser, f"{address}/photos") as page:
        tiles = page.locator("[data-grid] > .photo-tile")
        folders = page.get_by_role("group", name="Folder")
        page.get_by_role("link", name="Filter 1 set", exact=True).click()
        toggle = page.get_by_role("link", name="Folders in x")
        toggle.press("Enter")
        expect(folders.get_by_label("y")).to_be_visible()
        expect(toggle).to_have_attribute("aria-expanded", "true")
        expect(toggle).to_be_focused()
        expect(page).to_have_url(f"{address}/photos")
        folders.get_by_label("y").check()
        expect(tiles).to_have_count(1)
        folders.get_by_label("z").check()
        expect(tiles).to_have_count(2)
        assert axe_findings(page) == []
        folders.get_by_label("y").uncheck()
        expect(tiles).to_have_count(1)
        expect(folders.get_by_label("y")).to_be_visible()
        toggle.click()
        expect(folders.get_by_label("y")).to_have_count(0)


@pytest.fixture
def cameras(web_settings: Settings, web_database: Database, tmp_path: Path) -> Iterator[str]:
    """The address of a library of twelve photos by as many cameras."""
    library = LibraryPhotos(web_database, web_settings, tmp_path / "photos")
    for n in range(12):
        library.photo(f"{n}.jpg", (EIFFEL, 0.9, True), camera_id=library.camera(model=f"Camera {n}"))
    with serving(web_settings) as url:
        yield url


@pytest.mark.slow
def test_the_rest_of_a_list_of_the_filter_stays_open_and_keeps_the_focus(
    browser: Browser, cameras: str
) -> None:
    with open_page(browser, f"{cameras}/photos?any_rank=1") as page:
        page.get_by_role("link", name="Filter", exact=True).click()
        group, tiles = page.get_by_role("group", name="Camera"), page.locator("[data-grid] > .photo-tile")
        camera, rest = group.get_by_label("Camera 9"), group.locator("summary")
        expect(rest).to_have_accessible_name("4 more cameras")
        for summary in (rest, page.locator("[data-group=landmark] > summary")):
            summary.evaluate("summary => { summary.dataset.old = true; }")
            group.get_by_role("checkbox").first.click()
            summary.focus()
            expect(page.locator("[data-old]")).to_have_count(0)  # photos are counted again
            expect(summary).to_be_focused()
        expect(camera).to_be_hidden()
        rest.press("Enter")
        section = page.get_by_role("navigation", name="Main").get_by_role("link", name="Photos")
        expect(section).to_have_attribute("aria-current", "page")
        camera.check()
        expect(tiles).to_have_count(1)
        expect(section).to_have_attribute("aria-current", "true")
        camera.uncheck()
        expect(tiles).to_have_count(12)
        expect(camera).to_be_visible()
        expect(camera).to_be_focused()
        assert axe_findings(page) == []


@pytest.mark.slow
def test_focus_goes_to_the_summary_of_a_folded_rest(browser: Browser, cameras: str) -> None:
    with open_page(browser, f"{cameras}/photos?any_rank=1&camera=Camera+9") as page:
        page.get_by_role("link", name="Filter 1 set", exact=True).click()
        group = page.get_by_role("group", name="Camera")
        group.get_by_role("checkbox", name="Camera 9").uncheck()
        expect(page.locator("[data-grid] > .photo-tile")).to_have_count(12)
        expect(group.get_by_role("checkbox", name="Camera 9")).to_be_hidden()
        expect(group.locator("summary")).to_be_focused()


@pytest.mark.slow
def test_a_chosen_folder_unfolds_only_its_own_folders(
    browser: Browser, web_settings: Settings, web_database: Database, tmp_path: Path
) -> None:
    library = LibraryPhotos(web_database, web_settings, tmp_path / "photos")
    for n in range(12):
        library.photo(f"folder-{n}/inside-{n}/a.jpg", (EIFFEL, 0.9, True))
    with serving(web_settings) as address, open_page(browser, f"{address}/photos") as page:
        page.get_by_role("link", name="Filter 1 set", exact=True).click()
        group = page.get_by_role("group", name="Folder")
        folders = {name: group.get_by_role("checkbox", name=name) for name in ("folder-3", "folder-8")}
        expect(folders["folder-8"]).to_be_hidden()  # by name, the last but one
        folders["folder-3"].check()
        expect(group.get_by_role("checkbox", name="inside-3")).to_be_visible()
        expect(folders["folder-8"]).to_be_hidden()
        group.locator("summary").click()
        folders["folder-8"].check()
        expect(group.get_by_role("checkbox", name="inside-8")).to_be_visible()
        group.locator("summary").click()
        expect(group.get_by_role("checkbox", name="folder-9")).to_be_hidden()
        expect(folders["folder-8"]).to_be_visible()
        assert axe_findings(page) == []


def test_the_filter_is_a_sheet_on_a_phone(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/photos", screen=PHONE) as page:
        page.get_by_role("link", name="Filter 1 set", exact=True).click()
        sheet = page.get_by_role("dialog", name="Filter")
        sheet.get_by_label("Brandenburg Gate").check()
        expect(page.locator(".filtered-count")).to_have_text("1 photo")
        assert axe_findings(page) == []
        sheet.evaluate("sheet => sheet.scrollTo(0, sheet.scrollHeight)")
        expect(sheet.get_by_role("button", name="Close")).to_be_in_viewport(ratio=1)
        sheet.get_by_role("button", name="Show photos").click()
        expect(sheet).to_have_count(0)
        expect(page.get_by_role("link", name="Filter 1")).to_be_focused()


@pytest.mark.slow
def test_naming_photos_that_are_not_classified_says_why_it_does_nothing(
    browser: Browser, web_settings: Settings, web_database: Database, tmp_path: Path
) -> None:
    library = LibraryPhotos(web_database, web_settings, tmp_path / "photos")
    library.photo("new.jpg", classified=False)
    with serving(web_settings) as address, open_page(browser, f"{address}/photos?untagged=1") as page:
        page.locator("[data-grid][data-drawn]").wait_for()
        page.keyboard.press("Control+a")
        page.get_by_role("button", name="Name landmark…").click()
        page.get_by_label("Landmark, city or country").fill("Eiffel Tower")
        page.get_by_role("button", name="Eiffel Tower").first.click()
        expect(page.locator("#toasts")).to_contain_text("1 photo skipped: not classified yet")


@pytest.mark.slow
def test_on_a_phone_the_actions_for_photos_are_in_one_line(browser: Browser, address: str) -> None:
    with open_page(browser, "about:blank", screen=PHONE, base=address) as page:
        for path in ("/photos?min_score=0.5", f"/landmarks/{EIFFEL}", "/unknown"):
            page.goto(path)
            expect(page.get_by_role("button", name="Select", exact=True)).to_be_visible()
            boxes = [each.bounding_box() for each in page.locator(".page-tools > :visible").all()]
            middles = [box["y"] + box["height"] / 2 for box in boxes if box]
            assert len(middles) >= 4 - ("unknown" in path)
            assert max(middles) - min(middles) < 2
            page.get_by_role("group").filter(has_text="Order").locator("summary").click()
            expect(page.get_by_role("link", name="Oldest first")).to_be_visible()


def _all_photos(page: Page, address: str) -> list[dict[str, int]]:
    photos: list[dict[str, int]] = []
    after = ""
    while True:
        document = page.request.get(f"{address}&limit=1000{after}").json()
        photos += document["photos"]
        if document["next"] is None:
            return photos
        after = f"&after={document['next']}"
