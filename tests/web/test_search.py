"""Searches: what the API answers, and suggestions chosen by keyboard and mouse."""

import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from starlette.testclient import TestClient
from support.browser import DESKTOP, PHONE, axe_findings, open_page, serving
from support.library_photos import EIFFEL, GATE, TRIP, LibraryPhotos, add_trip, picture
from support.page_server import library_in, settings_in

from tagger.web import state as overview


@pytest.fixture
def library(library, monkeypatch) -> LibraryPhotos:
    monkeypatch.setattr(
        overview, "FIRST_SEARCH_WAIT_S", 60.0
    )  # the lists of names are made before the first answer
    library.file("Berlin & co/IMG_1.jpg", (GATE, 0.9, True))
    library.file("south.jpg", data=picture((9, 9, 9)))
    library.position("south.jpg", 48.137, 11.575, "Germany", city="Munich", region="Bavaria")
    add_trip(library)
    return library


def search(client: TestClient, text: str, **headers: str) -> list[dict[str, Any]]:
    answer = client.get("/api/search", params={"q": text}, headers=headers)
    assert answer.status_code == 200
    return list(answer.json())


def test_every_kind_leads_to_photos_and_has_its_name_in_the_language(client, library):
    assert library.model.id
    for text, kind, label in (
        ("brandenburg", "landmark", "Brandenburg Gate"),
        ("eiffle", "landmark", "Eiffel Tower"),
        ("france", "country", "France"),
        ("may 2019", "date", "May 2019"),
        ("Berlin &", "folder", "Berlin & co"),
        ("img_1", "file", "IMG_1.jpg"),
        ("trip to paris", "trip", "Paris"),
        ("île-de", "region", "Île-de-France"),
        ("unknown", "outcome", "Unknown"),
        ("tower france", "photos", "Eiffel Tower, France"),
    ):
        found = next(each for each in search(client, text) if each["kind"] == kind)
        assert found["label"] == label
        assert found["similar"] == (text == "eiffle")
        assert client.get(found["address"]).status_code == 200, text
        assert found["address"].startswith(f"/trips/{TRIP}" if kind == "trip" else "/photos?")
        photos = client.get("/api/photos", params=found["options"]).json()["photos"]
        assert photos, text
        assert found["photos"] in (None, len(photos)), text
    (city, *_) = search(client, "munich", **{"Accept-Language": "de", "HX-Request": "true"})
    assert (city["label"], city["detail"]) == ("München", "Bavaria, Deutschland")
    assert client.get("/api/search", params={"q": "a" * 201}).status_code == 422
    assert client.get("/api/search").status_code == 422
    assert client.get("/api/search?q=").json() == []


def test_what_is_not_understood_or_guessed_is_said_with_the_filters_to_drop(client, library, counted):
    assert library.model.id
    page = page_of(client, "dogs in paris")
    assert "Left out: “dogs”, which is no date and no name in this library." in page
    assert 'value="dogs in paris"' in page
    assert "“not paris”, since a search cannot join this and the rest" in page_of(client, "2018 or not paris")
    nothing = client.get("/search", params={"q": "xqzwv"})
    assert (nothing.status_code, "No results for “xqzwv”" in nothing.text) == (200, True)
    assert "no date and no name" in nothing.text
    guessed = page_of(client, "eifel tower 2019")
    assert "<mark>“eifel tower” was read as Eiffel Tower.</mark>" in guessed
    (undo,) = re.findall(r'href="(/search\?[^"]*)">Search for exactly these words', guessed)
    assert "“eifel towr” was read as Eiffel Tower." in page_of(client, "eifel towr")  # the only one like it
    exact = unescape(client.get(client.get(undo).headers["location"]).text)
    assert "<mark>" not in exact
    # A tower is a kind of landmark.
    assert "Left out: “eifel”, which is no date and no name in this library. Did you mean" in exact
    empty = page_of(client, "munich 2019")
    found = dict(re.findall(r'<li><a href="([^"]*)">([^<]*without[^<]*)</a>', empty))
    assert list(found.values()) == ["9 without “Munich”", "1 without “2019”"]
    assert [len(re.findall(r"data-photo=", client.get(address).text)) for address in found] == [9, 1]


def page_of(client: TestClient, question: str) -> str:
    return unescape(client.get(client.get("/search", params={"q": question}).headers["location"]).text)


OPTIONS = "#search-list [role=option]"


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    settings = settings_in(tmp_path_factory.mktemp("search"))
    with library_in(settings) as library:
        library.file("Berlin/IMG_1.jpg", (GATE, 0.9, True))
        library.file("Berlin/IMG_2.jpg", (EIFFEL, 0.9, True), data=picture((9, 9, 9)))
        add_trip(library)
    with serving(settings) as url:
        yield url


def type_text(page: Page, text: str) -> None:
    """Type into the box until its list has options: the server makes its lists of names meanwhile."""
    box = page.locator("#search")
    expect(box).to_have_role("combobox")
    for _ in range(60):
        box.fill("")
        box.press_sequentially(text)
        try:
            expect(page.locator(OPTIONS).first).to_be_visible(timeout=1000)
        except AssertionError:
            continue
        return
    raise AssertionError(text)


def test_suggestions_are_chosen_by_keyboard_and_parts_changed(browser, address):
    with open_page(browser, f"{address}/places", screen=DESKTOP) as page:
        box = page.locator("#search")
        expect(box).to_have_role("combobox")
        page.keyboard.press("/")
        expect(box).to_be_focused()
        expect(box).to_have_value("")
        page.keyboard.type("a/b")
        expect(box).to_have_value("a/b")
        type_text(page, "berlin")
        expect(box).to_have_attribute("aria-expanded", "true")
        expect(box).not_to_have_attribute("aria-activedescendant", re.compile("."))
        page.keyboard.press("ArrowDown")
        first = page.locator(OPTIONS).first
        expect(first).to_have_attribute("aria-selected", "true")
        expect(box).to_have_attribute("aria-activedescendant", str(first.get_attribute("id")))
        page.keyboard.press("ArrowUp")
        expect(box).not_to_have_attribute("aria-activedescendant", re.compile("."))
        page.keyboard.press("ArrowUp")
        expect(page.locator(OPTIONS).last).to_have_attribute("aria-selected", "true")
        page.keyboard.press("Escape")
        expect(page.locator("#search-list")).to_be_hidden()
        expect(box).to_have_attribute("aria-expanded", "false")
        expect(box).to_have_value("berlin")
        page.keyboard.press("Escape")
        expect(box).to_have_value("")
        expect(box).not_to_be_focused()
        # What is selected is opened, else the photos of the whole text.
        type_text(page, "img_")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.wait_for_url("**/photos?under=*IMG_2.jpg*")
        page.locator("#search").fill("dogs at the eifel tower")
        page.keyboard.press("Enter")
        page.wait_for_url("**/photos?landmark=eiffel-tower&q=*")
        expect(page.locator("#search")).to_have_value("dogs at the eifel tower")
        expect(page.get_by_text("Left out: “dogs”")).to_be_visible()
    with open_page(browser, f"{address}/photos?landmark=eiffel-tower&q=eiffel%20tower%20dogs") as page:
        expect(page.get_by_text("Left out: “dogs”")).to_be_visible()
        page.get_by_role("button", name="Change filter Eiffel Tower").click()
        expect(page.locator('[id="group=landmark"]')).to_be_focused(timeout=60_000)
        page.get_by_role("checkbox", name="Brandenburg Gate").check()
        page.wait_for_url(re.compile(r"/photos\?landmark=[a-z-]+&landmark=[a-z-]+$"))
        expect(page.get_by_text("Left out")).to_have_count(0)
        expect(page.locator("#search")).to_have_value("")
        page.get_by_role("link", name="Remove filter Eiffel Tower").click()
        page.wait_for_url("**/photos?landmark=brandenburg-gate")


@pytest.mark.slow
def test_the_list_is_accessible_and_clicked(browser, address):
    with open_page(browser, f"{address}/places", screen=PHONE) as page:
        type_text(page, "berlin")
        page.keyboard.press("ArrowDown")
        assert axe_findings(page) == []
        box = page.locator("[data-panel]").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE.width
        page.locator("#search").fill("")
        type_text(page, "trip to paris")
        page.locator(OPTIONS).first.click()
        page.wait_for_url(f"**/trips/{TRIP}")
