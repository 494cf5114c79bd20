"""Real photos tagged by the shipped model: the pages show what the commands stored."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from support.browser import DESKTOP, PHONE, open_page, serving
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
LOADED_IDS = """() => {
  const tiles = [...document.querySelectorAll("[data-drawn] > .photo-tile")];
  if (!tiles.length || tiles.some((tile) => !tile.dataset.photo)) return null;
  return tiles.map((tile) => Number(tile.dataset.photo));
}"""
"""The ids of a grid's photos, once they are loaded. The grid requests them again when its script starts."""
LOADED = "() => [...document.images].every((image) => image.complete && image.naturalWidth > 0)"


@pytest.fixture(scope="module")
def terminal(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    """A terminal in which real photos, some of them broken, are tagged."""
    terminal = Terminal(tmp_path_factory.mktemp("real"))
    del terminal.environment["TAGGER_MODEL"]
    landmarks = sorted((test_data / "landmarks/test").iterdir())[::8]
    unknown = sorted((test_data / "unknown/test").rglob("*.jpg"))[::150]
    paths = [*(next(folder.glob("*.jpg")) for folder in landmarks), *unknown]
    for path in (*paths, *sorted((test_data / "originals").iterdir())[:2]):
        folder = terminal.folder / "photos" / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        copy(path, folder)
    copy(
        test_data / "exif/metadata-extractor-images/heic_cheers_1440x960.heic",
        terminal.folder / "photos/cheers.heic",
    )
    for number, name in enumerate(BROKEN):
        copy(test_data / "hostile" / name, terminal.folder / f"photos/<b>broken-{number}.jpg")
    (terminal.folder / "photos/letter.jpg").write_text("Dear Ada, the photos are in the other folder.\n")
    terminal.run("tag", terminal.folder / "photos", code=3)
    return terminal


@pytest.fixture(scope="module")
def address(terminal: Terminal) -> Iterator[str]:
    with serving(Settings(data_folder=terminal.data, device="cpu", backend="torchscript", threads=2)) as url:
        yield url


def document_at(page: Page, path: str) -> Any:
    response = page.request.get(path)
    assert response.ok, response.text()
    return response.json()


def load_all_images(page: Page) -> None:
    page.evaluate(
        "document.querySelectorAll('img[loading=lazy]').forEach((image) => (image.loading = 'eager'))"
    )
    page.wait_for_function(LOADED, timeout=60_000)


@pytest.mark.slow
def test_every_view_has_its_address_and_the_same_photos_as_data(
    browser: Browser, address: str, terminal: Terminal
) -> None:
    with open_page(browser, address, base=address, screen=DESKTOP) as page:
        parameters = {
            "landmark": document_at(page, "/api/landmarks")[0]["landmark"],
            "folder": terminal.folder / "photos/originals",
        }
    # Another browser, as if the addresses had been sent to somebody.
    with open_page(browser, "about:blank", base=address, screen=DESKTOP) as page:
        for view in VIEWS:
            page.goto(view.format(**parameters))
            ids = page.wait_for_function(LOADED_IDS).json_value()
            assert 0 < len(ids) < 60, view
            anchors = page.locator('a[href^="/api/photos"]').all()
            links = {str(each.text_content()).split()[0]: str(each.get_attribute("href")) for each in anchors}
            photos = document_at(page, links["JSON"])["photos"]
            paths = [photo["path"] for photo in photos]
            assert [photo["id"] for photo in photos] == ids, view
            rows = csv.DictReader(io.StringIO(page.request.get(links["CSV"]).text()))
            assert list(dict.fromkeys(row["path"] for row in rows)) == paths, view
            features = document_at(page, links["GeoJSON"])["features"]
            assert [each["properties"]["path"] for each in features] == paths, view


@pytest.mark.slow
def test_a_verdict_on_a_photo_of_a_landmark_is_visible_everywhere(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/library", base=address, screen=PHONE) as page:
        load_all_images(page)
        landmark = document_at(page, "/api/landmarks")[0]
        page.locator(".cover", has_text=landmark["name"]).first.click()
        load_all_images(page)
        page.locator("[data-grid] > .photo-tile a").first.click()
        page.wait_for_url("**/photos/*")
        page.reload()  # the photo's page
        load_all_images(page)
        page.keyboard.press("r")
        expect(page.locator("#announcement")).to_have_text(f"{landmark['name']} rejected")
        number = page.url.split("/photos/")[1].split("?")[0]
        verdicts = document_at(page, f"/api/photos/{number}")["verdicts"]
        assert [(each["landmark"], each["verdict"]) for each in verdicts] == [
            (landmark["landmark"], "rejected")
        ]
        counts = {each["landmark"]: each["photos"] for each in document_at(page, "/api/landmarks")}
        assert counts.get(landmark["landmark"], 0) == landmark["photos"] - 1
        page.keyboard.press("u")
        expect(page.locator("#announcement")).to_have_text(f"{landmark['name']}: verdict withdrawn")
        assert document_at(page, f"/api/photos/{number}")["verdicts"] == []


@pytest.mark.slow
def test_failures_have_a_picture_and_a_reason(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/jobs/1", base=address) as page:
        failures = document_at(page, "/api/jobs/1/failures")["failures"]
        assert {Path(each["path"]).name for each in failures} >= {"letter.jpg"}
        expect(page.locator(".failure")).to_have_count(len(failures))
        load_all_images(page)
        text = page.locator(".failures").inner_text()
        for each in failures:
            assert Path(each["path"]).name in text
            assert each["text"].replace("`", "") in text
            page.goto(f"/photos/{each['photo']}")
            expect(page.locator("#landmarks")).to_contain_text(each["text"].replace("`", ""))
            page.go_back()


@pytest.mark.slow
def test_what_browsers_do_not_show_is_shown_through_a_preview(browser: Browser, address: str) -> None:
    with open_page(browser, address, base=address) as page:
        number = next(
            each["id"]
            for each in document_at(page, "/api/photos?any_rank=1")["photos"]
            if each["path"].endswith(".heic")
        )
        page.goto(f"/photos/{number}")
        load_all_images(page)
        assert page.locator(".photo-stage img").evaluate("(image) => image.naturalWidth") == 1440
        assert page.request.get(f"/api/photos/{number}/image").headers["content-type"] == "image/jpeg"


@pytest.mark.slow
def test_trying_a_real_photo_names_it(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/try", base=address) as page:
        tagged = document_at(page, "/api/photos")["photos"][-1]
        page.set_input_files("#photo", tagged["path"])
        expect(page.locator(".result h2")).to_have_text(tagged["tags"][0]["name"], timeout=60_000)
        expect(page.locator(".result .map-pin")).to_have_count(1)
        expect(page.locator(".result .bar-row--none")).to_be_visible()
