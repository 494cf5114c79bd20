"""What can be done with selected photos beside verdicts: exporting, downloading, and writing metadata."""

import csv
import io
from pathlib import Path
from zipfile import ZipFile

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import update
from starlette.testclient import TestClient
from support.browser import PHONE, axe_findings, open_page
from support.library_photos import EIFFEL, GATE, LibraryPhotos, picture

from tagger.database.connection import Database
from tagger.database.tables import photos
from tagger.web.http.templates import environment

pytestmark = pytest.mark.usefixtures("shared_thumbnails")
FORM = {"origin": "http://127.0.0.1:8080"}


@pytest.fixture
def library(library: LibraryPhotos) -> LibraryPhotos:
    for folder, blue in (("a", 40), ("b", 200)):
        for n in range(2):
            data = picture((90 * n, 120, blue))
            library.file(f"{folder}/IMG_{n}.jpg", (EIFFEL, 0.8, True), (GATE, 0.1, False), data=data)
    return library


def select_all(page: Page) -> None:
    page.locator("[data-grid][data-drawn]").wait_for()
    page.keyboard.press("Control+a")
    expect(page.locator(".action-bar")).to_contain_text("4 photos selected")
    page.locator(".selection-menu summary").click()


def test_selected_photos_are_exported_and_downloaded(
    browser: Browser, address: str, library: LibraryPhotos
) -> None:
    with open_page(browser, f"{address}/landmarks/{EIFFEL}", screen=PHONE) as page:
        select_all(page)
        assert axe_findings(page) == []
        for item in page.locator(".selection-menu button").all():
            expect(item).to_be_in_viewport()
        page.get_by_role("button", name="Add to favourites").click()
        expect(page.locator(".photo-tile-favourite")).to_have_count(4)
        page.locator(".selection-menu summary").click()
        page.get_by_role("button", name="Remove from favourites").click()
        expect(page.locator(".photo-tile-favourite")).to_have_count(0)
        page.locator(".selection-menu summary").click()
        with page.expect_download() as download:
            page.get_by_role("button", name="Export as CSV").click()
        assert download.value.suggested_filename == "photos.csv"
        assert len(download.value.path().read_text().splitlines()) == 5
        expect(page.locator(".action-bar")).to_contain_text("4 photos selected")
        page.locator(".selection-menu summary").click()
        with page.expect_download() as download:
            page.get_by_role("button", name="Download the photos").click()
        with ZipFile(download.value.path()) as archive:
            assert sorted(archive.namelist()) == ["3/IMG_0.jpg", "4/IMG_1.jpg", "IMG_0.jpg", "IMG_1.jpg"]
            assert archive.testzip() is None
        page.locator(".selection-menu summary").press("Enter")
        page.get_by_role("button", name="Share…").press("Enter")
        expect(page.get_by_role("dialog", name="Share 4 photos")).to_be_visible()
        page.keyboard.press("Escape")
        page.locator(".selection-menu summary").click()
        page.get_by_role("button", name="Write metadata…").click()
        expect(page.get_by_role("heading", name="Write tags into metadata")).to_be_visible()
        expect(page.locator(".lede")).to_contain_text("4 photos")


@pytest.mark.slow
def test_the_menu_says_how_many_photos_an_action_takes_at_most(
    browser: Browser, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = environment().globals["selection_limits"]
    assert limits == {"share": 20_000, "list": 10_000, "files": 2000}
    monkeypatch.setitem(limits, "files", 3)
    with open_page(browser, f"{address}/landmarks/{EIFFEL}") as page:
        select_all(page)
        item = page.get_by_role("button", name="Download the photos (ZIP) 3 photos at most")
        expect(item).to_have_attribute("aria-disabled", "true")
        assert axe_findings(page) == []
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
        item.focus()
        page.keyboard.press("Enter")
        expect(page.locator(".selection-menu")).to_have_attribute("open", "")
        assert sent == []
        page.keyboard.press("Escape")
        page.locator("[data-photo]").first.click()
        page.locator(".selection-menu summary").click()
        with page.expect_download() as download:
            page.get_by_role("button", name="Download the photos (ZIP)", exact=True).click()
        assert len(ZipFile(download.value.path()).namelist()) == 3


def test_more_photos_than_a_form_has_fields_keep_their_order(
    client: TestClient, library: LibraryPhotos
) -> None:
    numbers = ",".join(map(str, range(1, 1500)))
    lists = client.post("/photos/export", data={"photo": numbers, "format": "json"}, headers=FORM)
    assert [Path(each["path"]).name for each in lists.json()] == ["IMG_0.jpg", "IMG_1.jpg"] * 2
    assert [tag["landmark"] for tag in lists.json()[0]["tags"]] == [EIFFEL]
    page = client.post("/photos/metadata", data={"photo": numbers, "action": "write"}, headers=FORM)
    assert page.status_code == 200
    assert numbers in page.text
    ordered = client.post("/photos/export", data={"photo": ["3,1", "3"], "format": "csv"}, headers=FORM)
    rows = csv.DictReader(io.StringIO(ordered.text))
    assert [row["path"] for row in rows] == [str(library.root / name / "IMG_0.jpg") for name in "ba"]


def test_the_archive_has_the_files_and_names_those_that_are_not_there(
    client: TestClient, library: LibraryPhotos
) -> None:
    (library.root / "b" / "IMG_1.jpg").unlink()
    zipped = client.post("/photos/export", data={"photo": "1,2,3,4,99", "format": "zip"}, headers=FORM)
    assert zipped.headers["content-disposition"] == 'attachment; filename="photos.zip"'
    with ZipFile(io.BytesIO(zipped.content)) as archive:
        assert archive.namelist() == ["IMG_0.jpg", "IMG_1.jpg", "3/IMG_0.jpg", "missing.txt"]
        assert archive.read("IMG_0.jpg") == (library.root / "a" / "IMG_0.jpg").read_bytes()
        assert archive.read("3/IMG_0.jpg") == (library.root / "b" / "IMG_0.jpg").read_bytes()
        assert b"IMG_1.jpg: The file no longer exists" in archive.read("missing.txt")


def test_raw_files_and_sidecars_are_in_the_archive_on_request(
    client: TestClient, library: LibraryPhotos, web_database: Database
) -> None:
    for folder in ("a", "b"):
        for name in ("IMG_0.CR3", "IMG_0.CR3.xmp", "IMG_0.jpg.xmp", "IMG_0.xmp"):
            (library.root / folder / name).write_bytes(f"{folder}/{name}".encode())
    number = library.number("b/IMG_0.CR3", classified=False)
    with web_database.write() as connection:
        connection.execute(update(photos).where(photos.c.id == number).values(primary_id=3))
    (library.root / "a" / "IMG_1.jpg.xmp").symlink_to(library.root / "b" / "IMG_1.jpg")  # of somebody else

    def archive(format_: str) -> ZipFile:
        form = {"photo": "1,3,2", "format": format_}
        return ZipFile(io.BytesIO(client.post("/photos/export", data=form, headers=FORM).content))

    with archive("zip") as plain:
        assert plain.namelist() == ["IMG_0.jpg", "3/IMG_0.jpg", "IMG_1.jpg"]
    with archive("zip-all") as whole:
        assert whole.testzip() is None
        # No scan has joined a/IMG_0.CR3 with its JPEG.
        assert whole.namelist() == [
            *("IMG_0.jpg", "IMG_0.jpg.xmp"),
            *("3/IMG_0.jpg", "3/IMG_0.CR3", "3/IMG_0.jpg.xmp", "3/IMG_0.CR3.xmp", "3/IMG_0.xmp"),
            *("IMG_1.jpg", "missing.txt"),
        ]
        for name in ("CR3", "jpg.xmp", "CR3.xmp", "xmp"):
            assert whole.read(f"3/IMG_0.{name}") == f"b/IMG_0.{name}".encode()
        assert whole.read("missing.txt").startswith(b"IMG_1.jpg: The sidecar IMG_1.jpg.xmp is a link")


def test_invalid_selections_are_refused(client: TestClient) -> None:
    many, files = (",".join(map(str, range(1, most))) for most in (10_002, 2_002))
    for data in (
        *({"format": "csv"}, {"photo": "", "format": "csv"}, {"photo": "1", "format": "exe"}),
        *({"photo": "1;2", "format": "csv"}, {"photo": "-1", "format": "csv"}),
        *({"photo": many, "format": "csv"}, {"photo": files, "format": "zip"}),
        {"photo": files, "format": "zip-all"},
    ):
        assert client.post("/photos/export", data=data, headers=FORM).status_code == 422, data
