"""Real photos tagged by the shipped model: the pages show what the commands stored."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from support.browser import PHONE, open_page, serving
from support.commands import Terminal

from tagger.settings import Settings

VIEWS = (
    "/landmarks/{landmark}", "/photos?country=France", "/photos?under={folder}", "/unknown", "/photos?any_rank=1",
    "/photos?taken_after=1990-01-01&taken_before=2100-01-01&any_rank=1",
)  # fmt: skip
BROKEN = (
    "Pillow/Tests_images_broken.png",
    "Pillow/Tests_images_seek_too_large.tif",
    "Pillow/Tests_images_raw_negative_stride.bin",
)
LOADED = "() => [...document.images].every((image) => image.complete && image.naturalWidth > 0)"


@pytest.fixture(scope="module")
def terminal(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    """Somebody who has tagged a few dozen photos, some of which are broken."""
    made = Terminal(tmp_path_factory.mktemp("real"))
    del made.environment["TAGGER_MODEL"]
    landmarks = sorted((test_data / "landmarks/test").iterdir())[::4]
    strangers = sorted((test_data / "unknown/test").rglob("*.jpg"))[::60]
    chosen = [*(next(folder.glob("*.jpg")) for folder in landmarks), *strangers]
    for path in (*chosen, *sorted((test_data / "originals").iterdir())[:3]):
        folder = made.folder / "photos" / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        copy(path, folder)
    copy(
        test_data / "exif/metadata-extractor-images/heic_cheers_1440x960.heic",
        made.folder / "photos/cheers.heic",
    )
    for number, name in enumerate(BROKEN):
        copy(test_data / "hostile" / name, made.folder / f"photos/<b>broken-{number}.jpg")
    (made.folder / "photos/letter.jpg").write_text("Dear Ada, the photos are in the other folder.\n")
    made.run("tag", made.folder / "photos", code=3)
    return made


@pytest.fixture(scope="module")
def address(terminal: Terminal) -> Iterator[str]:
    with serving(Settings(data_folder=terminal.data, device="cpu", threads=2)) as url:
        yield url


def asked(page: Page, path: str) -> Any:
    answer = page.request.get(path)
    assert answer.ok, answer.text()
    return answer.json()


def drawn(page: Page) -> None:
    page.evaluate(
        "document.querySelectorAll('img[loading=lazy]').forEach((image) => (image.loading = 'eager'))"
    )
    page.wait_for_function(LOADED, timeout=60_000)


def test_every_view_has_its_address_and_the_same_photos_as_data(
    browser: Browser, address: str, terminal: Terminal
) -> None:
    with open_page(browser, address, base=address) as page:
        words = {
            "landmark": asked(page, "/api/landmarks")[0]["landmark"],
            "folder": terminal.folder / "photos/originals",
        }
    for view in VIEWS:
        # Somebody else's browser, to which the address was sent.
        with open_page(browser, address + view.format(**words), base=address) as page:
            shown = [
                int(tile.get_attribute("data-photo") or 0) for tile in page.locator("[data-grid] > li").all()
            ]
            assert 0 < len(shown) < 60, view
            anchors = page.locator('a[href^="/api/photos"]').all()
            links = {str(each.text_content()).strip(): str(each.get_attribute("href")) for each in anchors}
            found = asked(page, links["JSON"])["photos"]
            paths = [each["path"] for each in found]
            assert [each["id"] for each in found] == shown, view
            rows = csv.DictReader(io.StringIO(page.request.get(links["CSV"]).text()))
            assert list(dict.fromkeys(row["path"] for row in rows)) == paths, view
            features = asked(page, links["GeoJSON"])["features"]
            assert [each["properties"]["path"] for each in features] == paths, view


def test_a_landmark_is_found_its_photo_judged_and_that_is_seen_everywhere(
    browser: Browser, address: str
) -> None:
    with open_page(browser, f"{address}/library", base=address, screen=PHONE) as page:
        drawn(page)
        landmark = asked(page, "/api/landmarks")[0]
        page.locator(".cover", has_text=landmark["name"]).first.click()
        drawn(page)
        page.locator("[data-grid] > li a").first.click()
        page.wait_for_url("**/photos/*")
        drawn(page)
        page.keyboard.press("r")
        expect(page.locator("#announcement")).to_have_text(f"{landmark['name']} rejected")
        number = page.url.split("/photos/")[1].split("?")[0]
        words = asked(page, f"/api/photos/{number}")["verdicts"]
        assert [(each["landmark"], each["verdict"]) for each in words] == [(landmark["landmark"], "rejected")]
        counts = {each["landmark"]: each["photos"] for each in asked(page, "/api/landmarks")}
        assert counts.get(landmark["landmark"], 0) == landmark["photos"] - 1
        page.keyboard.press("u")
        expect(page.locator("#announcement")).to_have_text(f"{landmark['name']}: verdict withdrawn")
        assert asked(page, f"/api/photos/{number}")["verdicts"] == []


def test_failures_have_a_picture_and_a_reason(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/jobs/1", base=address) as page:
        failures = asked(page, "/api/jobs/1/failures")["failures"]
        assert {Path(each["path"]).name for each in failures} >= {"letter.jpg"}
        expect(page.locator(".failure")).to_have_count(len(failures))
        drawn(page)
        words = page.locator(".failures").inner_text()
        for each in failures:
            assert Path(each["path"]).name in words
            assert each["text"].replace("`", "") in words
            page.goto(f"/photos/{each['photo']}")
            expect(page.locator("#landmarks")).to_contain_text(each["text"].replace("`", ""))
            page.go_back()


def test_what_browsers_do_not_show_is_shown_through_a_preview(browser: Browser, address: str) -> None:
    with open_page(browser, address, base=address) as page:
        number = next(
            each["id"]
            for each in asked(page, "/api/photos?any_rank=1")["photos"]
            if each["path"].endswith(".heic")
        )
        page.goto(f"/photos/{number}")
        drawn(page)
        assert page.locator(".photo-stage img").evaluate("(image) => image.naturalWidth") == 1440
        assert page.request.get(f"/api/photos/{number}/image").headers["content-type"] == "image/jpeg"


def test_trying_a_real_photo_names_it(browser: Browser, address: str) -> None:
    with open_page(browser, address, base=address) as page:
        known = asked(page, "/api/photos")["photos"][-1]
        page.set_input_files("#photo", known["path"])
        expect(page.locator(".result h2")).to_have_text(known["tags"][0]["name"], timeout=60_000)
        expect(page.locator(".result .map-pin")).to_have_count(1)
        expect(page.locator(".result .bar-row--none")).to_be_visible()
