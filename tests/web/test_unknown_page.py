"""Unknown photos on the page: their order, guesses and number, and those that are put away."""
# ruff: noqa: DTZ001 - cameras know no time zone

import re
from datetime import datetime
from html import unescape

import pytest
from playwright.sync_api import expect
from sqlalchemy import update
from support.browser import PHONE, open_page
from support.library_photos import EIFFEL, GATE, LibraryPhotos, picture
from support.page_server import tiles_of

from tagger.database.tables import models
from tagger.verdicts import dismiss_photos

pytestmark = pytest.mark.usefixtures("shared_thumbnails", "counted")

GUESS = "Eiffel Tower? 56%"


@pytest.fixture
def library(library) -> LibraryPhotos:
    """Photos 1 to 4 are unknown: 3 is nearest to a landmark and has a copy, 1 is the newest; 6 is tagged."""
    with library.database.write() as connection:
        connection.execute(update(models).values(suggestion_threshold=0.5))
    for n, score in enumerate((0.1, 0.3, 0.56, 0.02)):
        taken_at = datetime(2024, 6, 9 - n, 12, 30)
        name = f"unknown-{n}.jpg"
        library.file(name, (EIFFEL, score, False), data=picture((50 * n, 90, 90)), taken_at=taken_at)
    library.file("copy.jpg", data=picture((100, 90, 90)), taken_at=datetime(2024, 6, 7, 12, 30))
    library.file("tagged.jpg", (GATE, 0.9, True), data=picture((9, 9, 99)))
    return library


def words_of(page: str, photo: int) -> str:
    (tile,) = re.findall(rf'<li class="photo-tile" data-photo="{photo}"[^>]*>(.*?)</li>', page, re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", tile)).split())


def test_the_nearest_come_first_with_their_guess_named_by_what_they_show(client, library):
    page = client.get("/photos?unknown=1").text
    assert tiles_of(page) == [3, 2, 1, 4]
    assert 'href="/photos?unknown=1" aria-current="page">Unknown<' in page
    assert words_of(page, 3) == f"7 June 2024, 12:30 {' '.join(GUESS.split())} 2 copies"
    assert words_of(page, 2) == "8 June 2024, 12:30"
    listed = client.get("/api/timeline/photos?unknown=1").json()["photos"]
    assert [(photo["id"], photo["guess"]) for photo in listed][:2] == [(3, GUESS), (2, None)]
    taken_at = datetime(2024, 4, 12, 10, 5)
    library.file("gate.jpg", (GATE, 0.9, True), data=picture((7, 7, 7)), taken_at=taken_at)
    names = re.findall(r'alt="([^"]*)"', client.get("/photos?any_rank=1").text)
    assert "Brandenburg Gate, 12 April 2024, 10:05" in names
    assert "Brandenburg Gate" in names  # without a date


def test_what_is_not_suggested_is_no_guess(client, library):
    number = library.file("like.jpg", (EIFFEL, 0.56, False), data=picture((1, 2, 3)))
    assert words_of(client.get("/photos?unknown=1").text, number) == GUESS
    rejected = {"photos": [number], "landmark": EIFFEL, "verdict": "rejected"}
    assert client.post("/api/verdicts", json=rejected).status_code == 200
    assert words_of(client.get("/photos?unknown=1").text, number) == ""
    listed = client.get("/api/timeline/photos?unknown=1").json()["photos"]
    assert [photo["guess"] for photo in listed if photo["id"] == number] == [None]


def test_other_grids_have_no_words_over_photos(client, library):
    dismiss_photos(library.database, [2], "ada")
    page = client.get("/photos?unknown=1").text
    assert tiles_of(page) == [3, 1, 4]
    assert 'href="/review" aria-current="true"' in page
    everything = client.get("/photos?any_rank=1").text
    assert [words_of(everything, photo) for photo in (2, 3)] == [
        "8 June 2024, 12:30",
        "7 June 2024, 12:30 2 copies",
    ]
    assert tiles_of(client.get("/photos?dismissed=1").text) == [2]
    listed = client.get("/api/timeline/photos?any_rank=1").json()["photos"]
    assert [photo["id"] for photo in listed if photo["dismissed"]] == [2]
    assert not any(photo["guess"] for photo in listed)


@pytest.mark.slow
def test_settings_open_without_script(browser, address):
    with open_page(browser, f"{address}/places", screen=PHONE, script=False) as page:
        settings = page.locator("#settings")
        expect(settings).to_be_hidden()
        page.get_by_role("button", name="Settings").focus()
        page.keyboard.press("Enter")
        expect(settings.get_by_role("link")).to_have_text(["Jobs and schedules", "Try a photo"])
        assert all(each.bounding_box()["height"] >= 44 for each in settings.locator("a, select").all())
        page.keyboard.press("Escape")
        expect(settings).to_be_hidden()
        page.get_by_role("button", name="Settings").click()
        settings.get_by_role("link", name="Jobs").click()
        page.wait_for_url("**/jobs")
