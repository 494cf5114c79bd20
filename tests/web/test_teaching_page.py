"""Naming, learning and comparing places on the page, with a model that gives embeddings."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from starlette.testclient import TestClient
from support.browser import open_page, serving
from support.colour_folders import TaggedFolder
from support.teaching import draw_place, teachable_artifact
from support.waiting import wait_until

from tagger.database.connection import Database

CHURCH, PHOTOS = 0, 6


@pytest.fixture
def library(web_database: Database, tmp_path: Path) -> TaggedFolder:
    """Six photos of a church that the model does not know, others that resemble it less and less, and photos of other places."""
    library = TaggedFolder(web_database, tmp_path, teachable_artifact)
    for seed in range(PHOTOS):
        draw_place(library.folder / "church" / f"{seed}.jpg", CHURCH, seed=seed)
    for step in range(12):
        draw_place(library.folder / "dim" / f"{step}.jpg", CHURCH, seed=50 + step, noise=0.2 + 0.1 * step)
    for place in range(10, 16):
        draw_place(library.folder / "others" / f"{place}.jpg", place)
    library.tag()
    return library


@pytest.fixture
def address(library: TaggedFolder) -> Iterator[str]:
    with serving(library.page_settings) as url:
        yield url


def name_church(page: Page, library: TaggedFolder, count: int) -> None:
    """Name some photos of the church, which is a new place, from the photos that resemble the first one."""
    page.goto(f"/photos/{library.photo('church/0.jpg').id}/similar")
    page.get_by_role("button", name="Select").click()
    for number in range(1, count + 1):
        photo = library.photo(f"church/{number}.jpg").id
        page.locator(f'[data-grid] > [data-photo="{photo}"]').click()
    page.get_by_role("button", name="Name landmark").click()
    page.get_by_label("Landmark, city or country").fill("Our church")
    page.locator("[data-new]").click()
    page.get_by_role("button", name="Add this place").click()
    expect(page.locator("#toasts")).to_contain_text(f"{count} photos confirmed", timeout=30_000)


def test_a_place_is_named_learned_and_reviewed(browser: Browser, address: str, library: TaggedFolder) -> None:
    with open_page(browser, address, base=address) as page:
        name_church(page, library, 3)
        page.get_by_role("button", name="Show what it finds").click()
        page.wait_for_url("**/landmarks/our-church")
        expect(page.get_by_role("heading", name="Our church")).to_be_visible()
        wait_until(lambda: page.request.get("/api/suggestions?landmark=our-church").json()["photos"], 60)
        page.reload()
        expect(page.locator(".learning")).to_contain_text("Learned from 3 photos, found in ")
        suggested = len(page.request.get("/api/suggestions?landmark=our-church").json()["photos"])
        page.locator(".learning a", has_text=f"{suggested} to review").click()
        page.get_by_role("link", name="One by one").click()
        expect(page.locator(".review-progress")).to_have_text(f"1 of {suggested}")
        expect(page.get_by_role("heading", name="Our church?")).to_be_visible()
        previous = page.get_by_role("button", name="Previous")
        expect(previous).to_be_disabled()  # the script listens to keys from then on
        page.keyboard.press("c")
        expect(page.locator(".review-progress")).to_contain_text("2 of")


def test_without_embeddings_the_page_says_that_photos_cannot_be_compared(
    client: TestClient, web_database: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    library = TaggedFolder(web_database, folder)
    library.draw("tower.jpg")
    library.tag()
    assert "Photos cannot be compared" in client.get("/photos/1/similar").text
