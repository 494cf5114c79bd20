"""Hostile photos and rows: nothing runs, no path leads out of its root, and no text ends a command or page."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zipfile import ZipFile

import httpx2 as httpx
import pytest
from lxml import html
from playwright.sync_api import Page, expect
from sqlalchemy import update
from support.artifacts import tiny_artifact
from support.browser import open_page, serving
from support.command_line import CommandOutput, run_command
from support.library_photos import EIFFEL, LibraryPhotos, picture
from support.page_server import LOCAL_URL, photo, settings_in

from tagger.cli.main import main
from tagger.database import Priority, Runner
from tagger.database.connection import Database, open_database
from tagger.database.tables import cameras, contents, landmarks, models, photos, positions, verdicts
from tagger.jobs.enqueue.schedules import add_schedule
from tagger.jobs.enqueue.submission import Backfill, BackfillScope
from tagger.ledger import NewJob, create_job, finish_scan, suspend_for_root
from tagger.model.artifact import Label
from tagger.photos.formats import digest_photo
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
def settings(tmp_path_factory) -> Settings:
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
def address(settings) -> Iterator[str]:
    with serving(settings) as url:
        yield url


def numbers(page: Page) -> dict[str, int]:
    photos = page.request.get("/api/photos?any_rank=1").json()["photos"]
    return {Path(each["path"]).name: each["id"] for each in photos}


def test_a_photo_that_is_also_a_page_or_a_script_never_runs(browser, address):
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
            kind = answer.headers["content-type"]
            assert kind.startswith("image/") if name in IMAGES else kind == "application/json", name
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
            assert page.evaluate("document.contentType") == kind
            assert page.evaluate("window.hit") is None, name
            assert library_page.evaluate(as_script, image) == "refused", name
            assert library_page.evaluate("window.hit") is None, name


# Pages, and a text that each must contain, so that the test sees the hostile name.
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


def test_names_are_text_on_every_page(address):
    with httpx.Client(base_url=address, timeout=60, follow_redirects=True) as client:
        photos = client.get("/api/photos?any_rank=1").json()["photos"]
        chosen = next(each["id"] for each in photos if Path(each["path"]).name == f"{EVIL}.jpg")
        for path, text in PAGES.items():
            name, _, query = path.format(evil="EVIL", photo=chosen).partition("?")
            answer = client.get(
                f"{name}?{query}".replace("EVIL", quote(EVIL, safe="")), headers={"accept": "text/html"}
            )
            page = html.document_fromstring(answer.text)
            assert text in page.text_content(), path
            assert (
                page.xpath("//img[@src='x'] | //script[not(@src)] | //@*[starts-with(name(), 'on')]") == []
            ), path


def test_names_are_text_in_elements_that_scripts_add(browser, address):
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


SECRET = picture((1, 2, 3))
CONTROL = "\x1b]0;title\x07\x1b[31m\r\n\x9b\N{RIGHT-TO-LEFT OVERRIDE}\x7f"
LONG = "x" * 100_000
PATHS: dict[str, Callable[[Path], str]] = {
    "parent": lambda outside: f"../{outside.name}/secret.jpg",
    "inner parent": lambda outside: f"a/../../{outside.name}/secret.jpg",
    "absolute": lambda outside: str(outside / "secret.jpg"),
    "two slashes": lambda outside: f"/{outside}/secret.jpg",
    "link": lambda _outside: "link/secret.jpg",
    "device": lambda _outside: "/dev/zero",
    "environment": lambda _outside: "/proc/self/environ",
    "bucket": lambda _outside: "s3://bucket/secret.jpg",
    "NUL": lambda _outside: "a\0b.jpg",
    "empty": lambda _outside: "",
    "dot": lambda _outside: ".",
    "dots": lambda _outside: "..",
    "root": lambda _outside: "/",
    "long name": lambda _outside: f"{LONG}.jpg",
    "many folders": lambda _outside: "x/" * 50_000 + "y.jpg",
    "control": lambda _outside: f"{CONTROL}.jpg",
}
RAW_PATHS = {
    "bytes parent": b"../outside/secret.jpg",
    "bytes NUL": b"a\0\xff.jpg",
    "bytes absolute": b"/dev/zero",
}


@pytest.fixture
def outside(tmp_path, library) -> Path:
    """A folder beside the root, with a photo. The root has a link to it."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.jpg").write_bytes(SECRET)
    (library.root / "link").symlink_to(folder)
    return folder


@pytest.fixture
def hostile(library, outside) -> dict[str, int]:
    """The ids of photos whose rows were changed, as if they were photos of the secret."""
    library.file("good.jpg", (EIFFEL, 0.9, True), data=picture((9, 9, 9)))
    ids = {}
    names = {name: (make(outside), b"") for name, make in PATHS.items()}
    for name, (path, raw) in (names | {name: (name, raw) for name, raw in RAW_PATHS.items()}).items():
        ids[name] = library.number(
            f"{name}.jpg", (EIFFEL, 0.9, True), digest=digest_photo(SECRET), size_bytes=len(SECRET)
        )
        with library.database.write() as connection:
            values = {"path": path, "path_bytes": raw}
            connection.execute(update(photos).where(photos.c.id == ids[name]).values(values))
    return ids


@pytest.fixture
def tagger(web_settings, tmp_path) -> Callable[..., CommandOutput]:
    settings = {
        "TAGGER_DATA_FOLDER": str(web_settings.data_folder),
        "TAGGER_MODEL": str(web_settings.model),
        "TAGGER_BACKEND": "torchscript",
        "TAGGER_DEVICE": "cpu",
    }
    others = {name: value for name, value in os.environ.items() if not name.startswith("TAGGER_")}

    def run(*words: object) -> CommandOutput:
        output = run_command(main, *words, environment=others | settings, folder=tmp_path)
        assert "Traceback" not in output.err, (words, output.err[-3000:])
        return output

    return run


def test_the_page_serves_no_file_outside_and_no_error(client, hostile):
    for name, number in hostile.items():
        for kind in ("image", "file", "thumbnail", "preview"):
            answer = client.get(f"/api/photos/{number}/{kind}")
            assert 400 <= answer.status_code < 500, (name, kind, answer.status_code)
        for page in (f"/photos/{number}", f"/photos/{number}/details", f"/api/photos/{number}"):
            assert client.get(page).status_code == 200, (name, page)
    everything = {"photo": ",".join(map(str, hostile.values()))}
    archive = client.post("/photos/download", data=everything, headers={"origin": LOCAL_URL})
    assert ZipFile(io.BytesIO(archive.content)).namelist() == ["missing.txt"]
    for page in (
        "/photos",
        "/api/photos",
        "/api/photos.csv",
        "/api/photos.geojson",
        f"/landmarks/{EIFFEL}",
    ):
        answer = client.get(page)
        assert answer.status_code == 200, page
        assert page.endswith(".csv") or "\x1b" not in answer.text


@pytest.mark.parametrize("to", ["embed", "sidecar"])
def test_no_metadata_is_written_outside(tagger, hostile, outside, to):
    written = tagger("metadata", "write", "--to", to, "--json").json
    assert (written["written"], written["total"]) == (1, len(hostile) + 1)
    tagger("metadata", "undo", "--all")
    assert {file.name: file.read_bytes() for file in outside.iterdir()} == {"secret.jpg": SECRET}


def test_no_photo_outside_is_read(tagger, hostile, library, outside):
    (outside / "secret.jpg").write_bytes(picture((77, 88, 99)))  # whoever reads it stores another digest
    tagger("tag", library.root, "--again")
    with library.database.read() as connection:
        digests = set(connection.scalars(contents.select().with_only_columns(contents.c.digest)))
    assert digest_photo(picture((77, 88, 99))) not in digests


def test_commands_survive_hostile_rows(tagger, hostile, library):
    _write_texts(library.database)
    for words in (
        ("query",),
        ("query", "--json"),
        ("landmarks",),
        ("locate",),
        ("status",),
        ("doctor", "--quick"),
        ("db", "check"),
        ("db", "export", "-"),
        ("review", "export", "-"),
        ("model", "list"),
        ("backfill", "all", "--dry-run"),
        ("forget", library.root),
    ):
        output = tagger(*words)
        assert "\x1b" not in output.text + output.err, words
        assert "\x9b" not in output.text + output.err, words


def _write_texts(database: Database) -> None:
    texts: dict[Any, tuple[str, ...]] = {
        landmarks: ("name", "country", "city"),
        models: ("name",),
        cameras: ("name",),
        verdicts: ("given_by",),
        positions: ("country", "city"),
    }
    with database.write() as connection:
        for table, columns in texts.items():
            connection.execute(update(table).values(dict.fromkeys(columns, f"{CONTROL} {LONG}")))
