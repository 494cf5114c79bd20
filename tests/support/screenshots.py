"""Screenshots of every view of the page, for docs/reference/page.md: `make screenshots`.

The library that they show is drawn by the program. With --photos it is a folder of one's own, as the model that ships
sees it; those pictures are to be looked at, not to be published, and go to a folder outside the repository.
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
from support.demo_library import DemoLibrary, demo_library
from support.drawn_library import draw_library
from support.drawn_model import learn_landmarks

from tagger.catalog.shipped_model import shipped_file

REPOSITORY = Path(__file__).parents[2]
TOUR = REPOSITORY / "docs" / "reference" / "page.md"
PICTURES = REPOSITORY / "docs" / "images" / "page"
TOKEN = "shown-to-nobody-at-all"
SCREENS = {"": DESKTOP, "-phone": PHONE}
SEEN = """() => document.fonts.status === "loaded" && [...document.images].every((image) => {
  const box = image.getBoundingClientRect();
  return image.complete || box.bottom < 0 || box.top > innerHeight || !box.width;
})"""


@dataclass(frozen=True)
class View:
    """What is opened, what is done there, and whether it is pictured at night too.

    `failing`: requests that are answered with an error's status, as they should be; the browser would complain of them.
    """

    address: str
    act: Callable[[Page, DemoLibrary], None] = lambda _page, _library: None
    dark: bool = False
    failing: str = ""
    token: bool = False


def _try(page: Page, photo: str) -> None:
    page.set_input_files("#photo", photo)
    expect(page.locator("[data-announcement]")).to_be_visible(timeout=60_000)


def _select(page: Page, _library: DemoLibrary) -> None:
    page.get_by_role("button", name="Select").click()
    tiles = page.locator("[data-grid] > li")
    tiles.nth(1).click()
    tiles.nth(4).click(modifiers=["Shift"])
    expect(page.get_by_text("4 photos selected")).to_be_visible()


def _open_filters(page: Page, _library: DemoLibrary) -> None:
    page.locator(".filters > summary").click()


def _open_photo(page: Page, library: DemoLibrary) -> None:
    page.locator(f'[data-grid] > [data-photo="{library.photo}"] > a').click()
    page.wait_for_url("**/photos/*")


def _name_another(page: Page, library: DemoLibrary) -> None:
    _open_photo(page, library)
    page.locator("[data-name-another]").first.click()
    page.locator("#another-search").fill("tower")
    expect(page.locator("[data-results] button").first).to_be_visible()


def _open_folder(page: Page, _library: DemoLibrary) -> None:
    folder = page.locator(".folder-list a")
    if folder.count() == 1:
        folder.click()


VIEWS = {
    "try": View("/", dark=True),
    "try-named": View("/", lambda page, library: _try(page, library.known), dark=True),
    "try-unknown": View("/", lambda page, library: _try(page, library.unknown)),
    "library": View("/library", dark=True),
    "landmark": View("/landmarks/{landmark}"),
    "photos": View("/photos?min_score=0.9", _open_filters),
    "select": View("/landmarks/{landmark}", _select),
    "map": View("/map", dark=True),
    "unknown": View("/unknown"),
    "search": View("/search?q=a"),
    "photo": View("/landmarks/{landmark}", _open_photo, dark=True),
    "another": View("/landmarks/{landmark}", _name_another),
    "jobs": View("/jobs", dark=True),
    "job-running": View("/jobs/{running}"),
    "job-failures": View("/jobs/{failing}", failing="**/thumbnail?*"),
    "start": View("/jobs/new", _open_folder),
    "schedule": View("/jobs/schedules/new"),
    "sign-in": View("/sign-in", token=True),
    "nothing-fits": View("/photos?min_score=1&taken_after=2026-01-01"),
    "not-there": View("/photos/999999", failing="**/photos/*"),
}


PICTURED = {
    f"{name}{ending}": (view, ending)
    for name, view in VIEWS.items()
    for ending in (*SCREENS, *(("-dark",) if view.dark else ()))
}
"""All pictures there are, by their names."""


def toured() -> list[str]:
    """The names of those that the tour shows."""
    return re.findall(r"\(\.\./images/page/([a-z-]+)\.webp\)", TOUR.read_text())


def take(browser: Browser, library: DemoLibrary, out: Path, wanted: Sequence[str]) -> None:
    """Take those pictures, as WebP."""
    out.mkdir(parents=True, exist_ok=True)
    with serving(library.settings) as address, serving(library.settings, token=TOKEN) as closed:
        _wait_for_covers(browser, address)
        for name in wanted:
            view, ending = PICTURED[name]
            library.say_alive()
            with _opened(browser, closed if view.token else address, view, library, ending) as page:
                _picture(page, out / f"{name}.webp")


def _wait_for_covers(browser: Browser, address: str) -> None:
    """A server chooses them when it is first asked for the library."""
    with open_page(browser, f"{address}/library") as page:
        while not page.locator(".cover img").count():
            page.wait_for_timeout(200)
            page.reload()


@contextmanager
def _opened(browser: Browser, address: str, view: View, library: DemoLibrary, ending: str) -> Iterator[Page]:
    screen = SCREENS.get(ending, DESKTOP)
    with open_page(browser, "about:blank", screen=screen, dark=ending == "-dark", base=address) as page:
        if view.failing:
            page.route(view.failing, _quietly)
        page.goto(view.address.format_map(vars(library)))
        page.wait_for_load_state("load")
        view.act(page, library)
        yield page
        page.unroute_all(behavior="ignoreErrors")


def _quietly(route: Route) -> None:
    given = route.fetch()
    route.fulfill(body=given.body(), content_type=given.headers["content-type"])


def _picture(page: Page, path: Path) -> None:
    page.wait_for_function(SEEN)
    taken = path.with_suffix(".png")
    page.screenshot(path=taken, animations="disabled", caret="hide")
    with Image.open(taken) as image:
        image.convert("RGB").save(path, quality=80, method=6)
    taken.unlink()


def main() -> None:
    """Take pictures of every view of the page."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=PICTURES, help="where the pictures go")
    parser.add_argument("--photos", type=Path, help="a folder of photos to show instead")
    parser.add_argument("--only", nargs="+", choices=PICTURED, metavar="NAME", help="these pictures alone")
    asked = parser.parse_args()
    if asked.photos and REPOSITORY in (asked.out.resolve(), *asked.out.resolve().parents):
        parser.error("pictures of your own photos stay out of the repository: say where with --out")
    wanted = asked.only or ([*PICTURED] if asked.photos else toured())
    home = Path(tempfile.gettempdir()) / "landmarks"
    if home.exists():
        parser.error(f"{home} is there: a library of another run, or of one that was cut off; remove it then")
    home.mkdir(mode=0o700)
    try:
        model = _fill(home, asked.photos)
        with demo_library(home, model) as library, open_browser() as browser:
            take(browser, library, asked.out, wanted)
    except pytest.skip.Exception as nothing:
        sys.exit(str(nothing))
    finally:
        shutil.rmtree(home)


def _fill(home: Path, photos: Path | None) -> Path:
    """Photos into `home/Pictures`; returns the model that knows them."""
    if photos:
        shutil.copytree(photos, home / "Pictures")
        return shipped_file()
    draw_library(home / "Pictures")
    model = home / "drawn.pt"
    learn_landmarks(model)
    return model


if __name__ == "__main__":
    main()
