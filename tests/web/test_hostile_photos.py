"""Malicious photos and names in Chromium: no script runs, no element is injected."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import httpx2 as httpx
import pytest
from lxml import html
from playwright.sync_api import Browser, Page, expect
from support.artifacts import tiny_artifact
from support.browser import open_page, serving
from support.library_photos import LibraryPhotos, picture
from support.page_server import photo, settings_in

from tagger.database.connection import open_database
from tagger.database.enums import Priority, Runner
from tagger.jobs.enqueue.schedules import add_schedule
from tagger.jobs.enqueue.submission import Backfill, BackfillScope
from tagger.ledger.jobs import NewJob, create_job, finish_scan, suspend_for_root
from tagger.model.artifact import Label
from tagger.query.options import PhotoQuery
from tagger.settings import Settings
from tagger.web.routes import CONTENT_SECURITY_POLICY

EVIL = '"><img src=x onerror=hit=1><script>hit=1<'
SCRIPT = b"<html><body><script>window.hit = 1</script><img src=x onerror='window.hit = 1'></body></html>"
IMAGES = {
    "html-behind.jpg": picture() + SCRIPT,
    "html-in-a-comment.jpg": picture()[:20] + b"\xff\xfe\x00\x68" + SCRIPT[:102] + picture()[20:],
    "script.gif": b"GIF89a=1;window.hit=1;//" + bytes(40),
    "script.bmp": b"BM=1;window.hit=1;//" + bytes(60),
    "html-with-a-head.png": b"\x89PNG\r\n\x1a\n" + SCRIPT,
}
NO_IMAGES = {
    "drawing.jpg": b"<svg xmlns='http://www.w3.org/2000/svg' onload='hit=1'><script>hit=1</script></svg>",
    "page.jpg": SCRIPT + picture(),
    "document.jpg": b"%PDF-1.4\n1 0 obj<</OpenAction<</S/JavaScript/JS(app.alert(1))>>>>\n" + picture(),
    "archive.png": b"PK\x03\x04" + bytes(26) + photo(),
}
HIT = "() => [window.hit, document.querySelectorAll('img[src=x], script:not([src]), svg [onload]').length]"
UNTOUCHED = [None, 0]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A library in which every name is hostile: files, folders, landmarks, models, people, schedules."""
    folder = tmp_path_factory.mktemp("hostile")
    settings = settings_in(folder)
    place = {"country": EVIL, "city": EVIL, "region": EVIL, "latitude": 48.0, "longitude": 2.0}
    tiny_artifact(folder / "tiny.pt", [Label(label=f"00.{EVIL}", slug="evil", name=EVIL, **place)], name=EVIL)
    with closing(open_database(settings.effective_database_url)) as database:
        library = LibraryPhotos(database, settings, folder / EVIL)
        for name, data in (IMAGES | NO_IMAGES).items():
            library.file(f"{EVIL}/{name}", ("evil", 0.9, True), data=data)
        library.file(f"{EVIL}.jpg", ("evil", 0.9, True), digest="evil")
        library.file(f"unknown {EVIL}.jpg", ("evil", 0.1, False))
        library.verdict("evil", "evil", "confirmed")
        job = create_job(database, NewJob(library.model.id, 5, 0.5, Runner.WORKERS))
        finish_scan(database, job)
        suspend_for_root(
            database, create_job(database, NewJob(library.model.id, 5, 0.5, Runner.WORKERS)), EVIL
        )
        nightly = Backfill(BackfillScope.ALL, PhotoQuery(under=(library.root,)), scan=(library.root,))
        add_schedule(database, EVIL, "0 3 * * *", nightly, Priority.BULK, "Europe/Paris")
    return settings


@pytest.fixture(scope="module")
def address(settings: Settings) -> Iterator[str]:
    with serving(settings) as url:
        yield url


def numbers(page: Page) -> dict[str, int]:
    photos = page.request.get("/api/photos?any_rank=1").json()["photos"]
    return {Path(each["path"]).name: each["id"] for each in photos}


# ---------- files that are an image and something else ----------


def test_a_photo_that_is_also_a_page_or_a_script_never_runs(browser: Browser, address: str) -> None:
    as_script = """(address) => new Promise((resolve) => {
      const script = document.createElement("script");
      [script.onload, script.onerror, script.src] = [() => resolve("ran"), () => resolve("refused"), address];
      document.head.append(script);
    })"""
    with browser.new_context(base_url=address) as context:
        page, library_page = context.new_page(), context.new_page()
        for each in (page, library_page):
            each.on("dialog", lambda dialog: pytest.fail(dialog.message))
        library_page.goto("/places")
        photo_ids = numbers(page)
        for name in IMAGES | NO_IMAGES:
            image = f"/api/photos/{photo_ids[name]}/image"
            answer = page.goto(image)
            assert answer is not None
            kind = answer.headers["content-type"]
            assert kind.startswith("image/") if name in IMAGES else kind == "application/json", name
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
            assert page.evaluate("document.contentType") == kind
            assert page.evaluate("window.hit") is None, name
            assert library_page.evaluate(as_script, image) == "refused", name
            assert library_page.evaluate("window.hit") is None, name


# ---------- names ----------


PAGES = {
    "/places": EVIL,
    "/search?q={evil}": EVIL,
    "/landmarks/evil": EVIL,
    "/photos": "Filter",
    "/photos/filter?any_rank=1": EVIL,
    "/photos?under=/{evil}&landmark=evil&model={evil}": EVIL,
    "/photos?landmark={evil}{evil}": EVIL,
    "/photos?unknown=1": "Unknown",
    "/photos/{photo}": EVIL,
    "/jobs": EVIL,
    "/jobs/2": EVIL,
    "/jobs/new": EVIL,
    "/": EVIL,
    "/no-such-{evil}": "Not found",
}
"""Pages, and a text that each must contain, so that the test sees the hostile name."""


PERSON = {"accept": "text/html"}


def test_names_are_text_on_every_page(address: str) -> None:
    with httpx.Client(base_url=address, timeout=60, follow_redirects=True) as client:
        photos = client.get("/api/photos?any_rank=1").json()["photos"]
        chosen = next(each["id"] for each in photos if Path(each["path"]).name == f"{EVIL}.jpg")
        for path, text in PAGES.items():
            name, _, query = path.format(evil="EVIL", photo=chosen).partition("?")
            answer = client.get(f"{name}?{query}".replace("EVIL", quote(EVIL, safe="")), headers=PERSON)
            page = html.document_fromstring(answer.text)
            assert text in page.text_content(), path
            assert (
                page.xpath("//img[@src='x'] | //script[not(@src)] | //@*[starts-with(name(), 'on')]") == []
            ), path


def test_names_are_text_in_elements_that_scripts_add(browser: Browser, address: str) -> None:
    """The result of an upload, the search for a landmark, announcements of verdicts, fetched tiles."""
    with open_page(browser, f"{address}/try", base=address) as page:
        file = {"name": f"{EVIL}.png", "mimeType": "image/png", "buffer": photo()}
        page.set_input_files("#photo", files=[file])
        expect(page.locator("#result li").first).to_contain_text(EVIL)
        assert page.evaluate(HIT) == UNTOUCHED
        page.goto(f"/photos/{numbers(page)[f'{EVIL}.jpg']}")
        page.keyboard.press("r")
        expect(page.locator("#lightbox [data-status]")).to_have_text(f"{EVIL} rejected")
        page.keyboard.press("n")
        page.get_by_label("Landmark, city or country").fill("img")
        expect(page.locator("#naming [data-results] button").first).to_contain_text(EVIL)
        assert page.evaluate(HIT) == UNTOUCHED
        page.goto("/landmarks/evil")
        page.get_by_role("button", name="Select").click()
        page.locator("[data-grid] > .photo-tile a").first.click()
        page.get_by_role("button", name="Confirm 1").click()
        expect(page.locator("#toasts")).to_contain_text("1 photo confirmed")
        assert page.evaluate(HIT) == UNTOUCHED
