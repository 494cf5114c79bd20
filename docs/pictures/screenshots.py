"""Screenshots of every view of the page, for the documentation: `make screenshots`.

They show a library that this program draws. With --photos they show your own folder, tagged by the shipped
model; such
screenshots are not for publication and go to a folder outside the repository.
"""

import argparse
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect
from support.browser import DESKTOP, PHONE, open_browser, open_page, serving

from docs.pictures.demo_library import DemoLibrary, demo_library
from docs.pictures.drawn_library import draw_library
from docs.pictures.drawn_model import learn_landmarks
from tagger.tags.models_in_use import shipped_file

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = [REPOSITORY / "docs" / "reference/page.md"]
PICTURES = REPOSITORY / "docs" / "images" / "page"
TOKEN = "shown-to-nobody-at-all"
MOST_RELOADS = 300
MOST_PICTURES = 60
SCREENS = {"": DESKTOP, "-phone": PHONE}
GRID_DRAWN = """() => !document.querySelector("[data-grid]")
    || document.querySelector("[data-grid][data-drawn]") !== null"""
"""The script has justified the rows."""
IMAGES_LOADED = """() => document.fonts.status === "loaded" && [...document.images].every((image) => {
  const box = image.getBoundingClientRect();
  return image.complete || box.bottom < 0 || box.top > innerHeight || !box.width;
})"""

GRID_LOADED = """() => scrollY > 0
    && [...document.querySelectorAll(".photo-tile")].every((tile) => tile.dataset.photo)"""
LIGHTBOX_LOADED = """() => {
  const image = document.querySelector("#lightbox [data-stage] img");
  return image?.complete && image.naturalWidth > 0;
}"""


@dataclass(frozen=True)
class View:
    """The address to open, what to do there, and whether to take a screenshot with dark colours too.

    `failing`: requests whose error status is expected; the browser would log it as an error.
    """

    address: str
    act: Callable[[Page, DemoLibrary], None] = lambda _page, _library: None
    dark: bool = False
    failing: str = ""
    token: bool = False


def _select(page: Page, _library: DemoLibrary) -> None:
    page.get_by_role("button", name="Select").click()
    tiles = page.locator("[data-grid] > .photo-tile")
    tiles.nth(1).click()
    tiles.nth(4).click(modifiers=["Shift"])
    expect(page.get_by_text("4 photos selected")).to_be_visible()


def _open_filters(page: Page, _library: DemoLibrary) -> None:
    page.locator("[data-filter-open='']").click()
    page.locator("#filter-form").wait_for()


def _show_months(page: Page, _library: DemoLibrary) -> None:
    page.wait_for_function("() => document.querySelector('[data-drawn]') !== null")
    page.mouse.wheel(0, 420)
    page.wait_for_function(GRID_LOADED)
    page.get_by_role("slider", name="Month").focus()


def _wait_for_map(page: Page, _library: DemoLibrary) -> None:
    expect(page.locator("a.map-cluster").first).to_be_visible(timeout=120_000)
    _wait_for_land(page)


def _wait_for_land(page: Page) -> None:
    """Wait until the land of a map is drawn: two pictures in a row are equal."""
    page.wait_for_load_state("networkidle")
    before = b""
    for _ in range(MOST_PICTURES):
        now = page.screenshot(animations="disabled", caret="hide")
        if now == before:
            return
        before = now
        page.wait_for_timeout(1000)
    raise AssertionError("the map still changes")


def _open_lightbox(page: Page, library: DemoLibrary) -> None:
    page.locator(f'[data-drawn] > [data-photo="{library.photo}"] > a').click()
    page.wait_for_function(LIGHTBOX_LOADED)


def _open_photo(page: Page, library: DemoLibrary) -> None:
    _open_lightbox(page, library)
    page.keyboard.press("i")
    page.locator("#lightbox #facts").wait_for()
    page.locator("#lightbox .map-live canvas").wait_for()
    _wait_for_land(page)


def _name_another(page: Page, library: DemoLibrary) -> None:
    _open_photo(page, library)
    page.locator("[data-name-another]").first.click()
    page.locator("#another-search").fill("tower")
    expect(page.locator("#naming [data-results] button").first).to_be_visible()


def _open_folder(page: Page, _library: DemoLibrary) -> None:
    folder = page.locator(".folder-list a")
    if folder.count() == 1:
        folder.click()


VIEWS = {
    "library": View("/places", dark=True),
    "landmark": View("/landmarks/{landmark}"),
    "photos": View("/photos?min_score=0.9", _open_filters),
    "timeline": View("/photos?any_rank=1", _show_months),
    "lightbox": View("/landmarks/{landmark}", _open_lightbox),
    "review": View("/review"),
    "select": View("/landmarks/{landmark}", _select),
    "map": View("/map", _wait_for_map, dark=True),
    "unknown": View("/photos?unknown=1"),
    "photo": View("/landmarks/{landmark}", _open_photo, dark=True),
    "another": View("/landmarks/{landmark}", _name_another),
    "jobs": View("/jobs", dark=True),
    "job-running": View("/jobs/{running}"),
    "job-failures": View("/jobs/{failing}", failing="**/thumbnail?*"),
    "start": View("/jobs/new", _open_folder),
    "sign-in": View("/sign-in", token=True),
    "nothing-fits": View("/photos?min_score=1&taken_after=2026-01-01"),
    "not-there": View("/photos/999999", failing="**/photos/*"),
}


SCREENSHOTS = {
    f"{name}{suffix}": (view, suffix)
    for name, view in VIEWS.items()
    for suffix in (*SCREENS, *(("-dark",) if view.dark else ()))
}
"""All screenshots: view and suffix by name."""


def documented_names() -> list[str]:
    """The names of the screenshots that the documentation shows."""
    texts = "".join(document.read_text() for document in DOCUMENTS)
    return re.findall(r"\(\.\./images/page/([a-z-]+)\.webp\)", texts)


def take_screenshots(
    browser: Browser, library: DemoLibrary, out: Path, names: Sequence[str]
) -> None:
    """Take these screenshots as WebP."""
    out.mkdir(parents=True, exist_ok=True)
    with (
        serving(library.settings) as address,
        serving(library.settings, token=TOKEN) as closed,
    ):
        _wait_for_covers(browser, address)
        for name in names:
            view, suffix = SCREENSHOTS[name]
            library.send_heartbeats()
            with _opened_view(
                browser, closed if view.token else address, view, library, suffix
            ) as page:
                _save_screenshot(page, out / f"{name}.webp")


def _wait_for_covers(browser: Browser, address: str) -> None:
    """Wait until the library has its cover photos, which the server selects at the first request."""
    with open_page(browser, f"{address}/places") as page:
        for _ in range(MOST_RELOADS):
            if page.locator(".cover img").count():
                return
            page.wait_for_timeout(200)
            page.reload()
        expect(page.locator(".cover img").first).to_be_visible()


@contextmanager
def _opened_view(
    browser: Browser, address: str, view: View, library: DemoLibrary, suffix: str
) -> Iterator[Page]:
    screen = SCREENS.get(suffix, DESKTOP)
    with open_page(
        browser, "about:blank", screen=screen, dark=suffix == "-dark", base=address
    ) as page:
        if view.failing:
            page.route(view.failing, _answer_without_error)
        page.goto(view.address.format_map(vars(library)))
        page.wait_for_load_state("load")
        view.act(page, library)
        yield page
        page.unroute_all(behavior="ignoreErrors")


def _answer_without_error(route: Route) -> None:
    response = route.fetch()
    route.fulfill(body=response.body(), content_type=response.headers["content-type"])


def _save_screenshot(page: Page, path: Path) -> None:
    page.wait_for_function(GRID_DRAWN)
    page.wait_for_function(IMAGES_LOADED)
    png = path.with_suffix(".png")
    page.screenshot(path=png, animations="disabled", caret="hide")
    with Image.open(png) as image:
        image.convert("RGB").save(path, quality=80, method=6)
    png.unlink()


def main() -> None:
    """Take screenshots of every view of the web page."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "--out", type=Path, default=PICTURES, help="folder of the screenshots"
    )
    parser.add_argument(
        "--photos", type=Path, help="folder of your own photos to show instead"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=SCREENSHOTS,
        metavar="NAME",
        help="take only these screenshots",
    )
    arguments = parser.parse_args()
    if arguments.photos and REPOSITORY in (
        arguments.out.resolve(),
        *arguments.out.resolve().parents,
    ):
        parser.error(
            "screenshots of your own photos stay out of the repository; name another folder with --out"
        )
    names = arguments.only or (
        [*SCREENSHOTS] if arguments.photos else documented_names()
    )
    home = Path(tempfile.gettempdir()) / "landmarks"
    if home.exists():
        parser.error(
            f"{home} exists: another run is using it, or was interrupted; in that case remove it"
        )
    home.mkdir(mode=0o700)
    try:
        model = _fill(home, arguments.photos)
        with demo_library(home, model) as library, open_browser() as browser:
            take_screenshots(browser, library, arguments.out, names)
    except pytest.skip.Exception as skipped:
        sys.exit(str(skipped))
    finally:
        shutil.rmtree(home)


def _fill(home: Path, photos: Path | None) -> Path:
    """Copy or draw photos into `home/Pictures`; return the model for them."""
    if photos:
        shutil.copytree(photos, home / "Pictures")
        return shipped_file()
    draw_library(home / "Pictures")
    model = home / "drawn.pt"
    learn_landmarks(model)
    return model


if __name__ == "__main__":
    main()
