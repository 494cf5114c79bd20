"""Review: cards in groups, one by one by keyboard and touch, and without a script."""

# ruff: noqa: DTZ001 - cameras know no time zone

import re
from datetime import datetime
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import update
from support.browser import PHONE, Screen, axe_findings, open_page
from support.databases import execute
from support.library_photos import EIFFEL, GATE, VERSAILLES, LibraryPhotos, picture

from tagger.database.tables import models

pytestmark = pytest.mark.usefixtures("shared_thumbnails")

PHOTOS = 6


@pytest.fixture
def library(library) -> LibraryPhotos:
    """Six photos on which the model is less and less sure of the tower, from the first to the last."""
    execute(library.database, update(models).values(suggestion_threshold=0.3))
    for n in range(PHOTOS):
        data = picture((30 * n, 120, 200 - 20 * n))
        library.file(f"photo-{n}.jpg", (EIFFEL, 0.48 - n / 100, False), data=data)
    library.file("sure.jpg", (EIFFEL, 0.95, True), data=picture((0, 0, 90)))
    return library


def verdicts(page: Page) -> dict[str, str]:
    """The stored verdicts, by the number in the photo's name and the landmark."""
    found = {}
    for photo in page.request.get("/api/photos?verdict=any").json()["photos"]:
        for each in page.request.get(f"/api/photos/{photo['id']}").json()["verdicts"]:
            found[f"{Path(photo['path']).stem[-1]} {each['landmark']}"] = each["verdict"]
    return found


def open_one_by_one(page: Page) -> None:
    page.get_by_role("button", name="One by one").click()


def expect_question(page: Page, photo: int) -> None:
    """The keys are for this photo, whose verdicts have the focus."""
    expect(page.locator("[data-group]:focus-within")).to_be_visible()
    card = page.locator("[data-card] .photo-tile:visible")
    expect(card).to_have_count(1)
    expect(card.locator("img")).to_have_attribute("alt", f"photo-{photo}.jpg")
    expect(card).to_be_in_viewport(ratio=0.9)
    expect(page.locator("[data-position]")).to_have_text(f"{photo + 1} of {PHOTOS}")


def wait_for_verdicts(page: Page, expected: dict[str, str]) -> None:
    for _ in range(100):
        if verdicts(page) == expected:
            return
        page.wait_for_timeout(100)
    assert verdicts(page) == expected


def dismissed(page: Page) -> list[dict[str, str]]:
    photos: list[dict[str, str]] = page.request.get("/api/photos?dismissed=1").json()["photos"]
    return photos


def test_the_queue_is_answered_by_keyboard(browser, address):
    with open_page(browser, f"{address}/review", base=address) as page:
        open_one_by_one(page)
        expect_question(page, 0)
        expect(page.get_by_role("heading", name="Eiffel Tower?")).to_be_visible()
        expect(page.locator(".group-examples img:visible")).to_have_count(1)
        assert axe_findings(page) == []
        page.keyboard.press("c")
        expect_question(page, 1)
        page.keyboard.press("u")
        expect_question(page, 0)
        expect(page.locator(".toast")).to_have_count(0)
        wait_for_verdicts(page, {})
        for photo, key in enumerate("crs"):
            page.keyboard.press(key)
            expect_question(page, photo + 1)
        expect(page.locator(".toast")).to_have_count(1)  # the one of the last verdict
        page.keyboard.press("n")
        page.get_by_label("Landmark, city or country").fill("versailles")
        expect(page.get_by_label("Instead of Eiffel Tower")).to_be_checked()
        expect(page.locator("[data-results] button").first).to_be_visible()  # the landmarks are loaded
        page.keyboard.press("Enter")
        expect_question(page, 4)
        page.keyboard.press("x")
        expect_question(page, 5)
        page.keyboard.press("r")
        rejected = {f"{n} {EIFFEL}": "rejected" for n in (1, 3, 5)}
        given = {f"0 {EIFFEL}": "confirmed", f"3 {VERSAILLES}": "confirmed", **rejected}
        wait_for_verdicts(page, given)
        expect(page.locator("[data-card]:visible")).to_have_count(PHOTOS)  # after the last one, all of them
        assert [Path(photo["path"]).name for photo in dismissed(page)] == ["photo-4.jpg"]
        for left in (2, 3, 4):
            page.keyboard.press("u")
            expect(page.locator("[data-card]:not([data-done])")).to_have_count(left)
        wait_for_verdicts(page, {f"0 {EIFFEL}": "confirmed", f"1 {EIFFEL}": "rejected"})
        open_one_by_one(page)
        expect_question(page, 2)
        page.keyboard.press("ArrowLeft")
        expect(page.locator("[data-position]")).to_have_text(f"2 of {PHOTOS}")
        assert dismissed(page) == []
        page.keyboard.press("?")
        expect(page.get_by_role("heading", name="Keyboard shortcuts")).to_be_visible()
        page.reload()
        expect(page.locator("[data-card]")).to_have_count(PHOTOS - 2)


def test_a_photo_opens_large_and_back_leads_to_all(browser, address):
    with open_page(browser, f"{address}/review", base=address) as page:
        page.locator("[data-card] .photo-tile > a").nth(2).click()
        expect_question(page, 2)
        page.go_back()
        expect(page.locator("[data-card]:visible")).to_have_count(PHOTOS)
        expect(page.locator("[data-card] .photo-tile > a").nth(2)).to_be_focused()
        page.go_forward()
        expect_question(page, 2)
        page.reload()
        expect_question(page, 2)
        page.keyboard.press("Escape")
        expect(page.locator("[data-card]:visible")).to_have_count(PHOTOS)


def test_only_what_is_selected_is_confirmed_or_rejected(browser, address):
    with open_page(browser, f"{address}/review", base=address) as page:
        group = page.locator(f'[data-group][data-landmark="{EIFFEL}"]')
        expect(group.get_by_role("checkbox", checked=True)).to_have_count(0)
        expect(group.get_by_role("button", name="Confirm 0")).to_be_disabled()
        assert axe_findings(page) == []
        group.get_by_label("Select all").check()
        group.locator("[data-card] label").nth(2).click()
        group.get_by_role("button", name="Confirm 5").click()
        expect(page.locator("#toasts")).to_contain_text("5 photos confirmed as Eiffel Tower")
        given = {f"{n} {EIFFEL}": "confirmed" for n in range(PHOTOS) if n != 2}
        wait_for_verdicts(page, given)
        expect(group.get_by_role("button", name="Reject 0")).to_be_disabled()
        expect(page.locator(".nav-count")).to_contain_text("1 photo")
        group.locator("[data-card] label").nth(2).click()
        group.get_by_role("button", name="Reject 1").click()
        expect(page.locator("#toasts")).to_contain_text("1 photo rejected")
        wait_for_verdicts(page, {**given, f"2 {EIFFEL}": "rejected"})
        page.get_by_role("button", name="Undo").click()
        wait_for_verdicts(page, given)
        expect(group.locator("[data-card]:not([data-done])")).to_have_count(1)


def test_what_is_likely_is_selected_and_confirmed_at_once(browser, address, library):
    library.taught(library.file("gate.jpg", data=picture((0, 90, 0))), GATE, 0.7)
    with open_page(browser, f"{address}/review", base=address) as page:
        gate = page.locator(f'[data-group][data-landmark="{GATE}"]')
        expect(page.locator("[data-card] input:checked")).to_have_count(1)
        expect(gate.get_by_role("button")).to_have_text(
            ["Confirm c", "Reject r", "Other place n", "Not a landmark x"]
        )
        assert axe_findings(page) == []
        page.get_by_role("button", name="Confirm all 1").click()
        expect(page.locator("#toasts")).to_contain_text("1 photo confirmed as Brandenburg Gate")
        expect(page.get_by_role("button", name="Confirm all 0")).to_be_disabled()
        assert set(verdicts(page).values()) == {"confirmed"}
        page.get_by_role("button", name="Undo").last.click()
        wait_for_verdicts(page, {})
        page.locator(f'[data-landmark="{EIFFEL}"]').get_by_label("Select all").check()
        page.get_by_role("button", name="Confirm all 7").click()
        expect(page.locator("#toasts")).to_contain_text("7 photos confirmed")
        page.get_by_role("button", name="Undo").last.click()
        wait_for_verdicts(page, {})


def test_a_card_has_what_is_known_and_a_landmark_without_photos_a_map(client, library):
    library.file(
        "berlin.jpg", (GATE, 0.4, False), data=picture((0, 9, 0)), taken_at=datetime(2025, 10, 3, 12)
    )
    library.position("berlin.jpg", 52.52, 13.405, "Germany", "camera", city="Berlin")
    page = " ".join(re.sub(r"<[^>]*>", " ", client.get("/review").text).split())
    assert "40% Berlin, 3 October 2025 · 1.9 km away" in page
    gate = library.file("gate.jpg", (GATE, 0.4, False), data=picture((0, 9, 0)))
    assert gate
    page = client.get(f"/review?landmark={GATE}").text
    assert "No photo of it yet. It is here:" in page
    assert re.search(r'data-latitude="52\.51\d+" data-longitude="13\.37\d+"', page)
    assert "Berlin, Germany" in page


@pytest.mark.slow
def test_without_embeddings_no_photos_are_compared_with_those_named(browser, address):
    with open_page(browser, f"{address}/review", base=address) as page:
        taught: list[str] = []
        page.on("request", lambda request: "/teach" in request.url and taught.append(request.url))
        page.get_by_label("Select all").check()
        page.get_by_role("button", name="Other place").click()
        page.get_by_label("Landmark, city or country").fill("Brandenburg")
        page.get_by_role("button", name="Brandenburg Gate").click()
        expect(page.locator("#toasts")).to_contain_text(f"{PHOTOS} photos named Brandenburg Gate")
        expect(page.locator("#toasts")).not_to_contain_text("Comparing")
        assert taught == []


def test_a_verdict_that_is_not_stored_is_reported_and_all_tabs_show_how_many_are_left(browser, address):
    with open_page(browser, f"{address}/review", base=address) as page:
        open_one_by_one(page)
        page.route("**/api/verdicts", lambda route: route.fulfill(status=200, body="{"))
        page.keyboard.press("c")
        expect(page.locator(".toast--bad")).to_contain_text("The photos were not changed")
        expect_question(page, 0)
        expect(page.get_by_role("button", name="Confirm")).to_be_enabled()
        page.unroute("**/api/verdicts")
        other = page.context.new_page()
        other.goto("/places")
        counts = [each.locator('.site-nav a[href="/review"] .nav-count') for each in (other, page)]
        expect(counts[0]).to_contain_text(str(PHOTOS))
        page.keyboard.press("c")
        for count in counts:
            expect(count).to_contain_text(str(PHOTOS - 1))


def test_without_a_script_review_shows_its_photos(browser, address):
    with open_page(browser, f"{address}/review", script=False) as page:
        expect(page.locator("[data-card] img:visible")).to_have_count(PHOTOS)
        expect(page.locator("[data-action]:visible")).to_have_count(0)


@pytest.mark.parametrize(("width", "height"), [(844, 390), pytest.param(720, 450, marks=pytest.mark.slow)])
def test_on_a_low_screen_the_photo_is_largest_and_the_verdicts_are_there(browser, address, width, height):
    screen = Screen(width, height, touch=True)
    with open_page(browser, f"{address}/review", screen=screen, base=address) as page:
        open_one_by_one(page)
        stage, actions = (
            page.locator(each).first.bounding_box()
            for each in ("[data-shown] .photo-tile:visible", "[data-shown] .group-actions")
        )
        assert stage
        assert actions
        assert actions["y"] + actions["height"] <= height
        assert stage["y"] + stage["height"] <= height
        assert stage["width"] * stage["height"] > actions["width"] * actions["height"]
        image = page.locator("[data-card][data-shown] img").first
        expect(image).to_have_js_property("complete", value=True)
        box = image.bounding_box()
        assert box
        assert box["height"] <= stage["height"]
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_groups_have_what_is_probable_first_and_one_landmark_is_reviewed(client, library):
    gate = library.file("gate.jpg", (EIFFEL, 0.1, False), data=picture((9, 9, 9)))
    library.taught(gate, GATE, 0.45)
    page = client.get("/review").text
    assert re.findall(r'data-landmark="([^"]*)"', page) == [EIFFEL, GATE]
    assert page.count("data-card ") == PHOTOS + 1
    page = client.get(f"/review?landmark={GATE}").text
    assert re.findall(r'data-landmark="([^"]*)"', page) == [GATE]
    assert "45%" in page
    assert page.count("data-card ") == 1
    body = {"photos": [gate], "landmark": GATE, "verdict": "confirmed"}
    assert client.post("/api/verdicts", json=body).status_code == 200
    page = client.get(f"/review?landmark={GATE}").text
    assert "Every suggestion of Brandenburg Gate has a verdict" in page
    assert client.get("/review?landmark=nowhere").status_code == 404


@pytest.mark.slow
def test_on_a_phone_fingers_review(browser, address):
    with open_page(browser, f"{address}/review", screen=PHONE, base=address) as page:
        open_one_by_one(page)
        first = page.locator("[data-group]").first
        for name in ("confirm", "reject", "name", "dismiss", "skip"):
            box = first.locator(f'[data-action="{name}"]').bounding_box()
            assert box is not None, name
            assert min(box["height"], box["width"]) >= 44, name
            assert box["y"] + box["height"] <= PHONE.height, name
        first.get_by_role("button", name="Confirm").tap()
        expect_question(page, 1)
        note, stage = (
            page.locator(each).bounding_box() for each in (".toast", "[data-card][data-shown] .photo-tile")
        )
        assert note
        assert stage
        assert note["y"] + note["height"] <= stage["y"]  # what is asked next is not covered
        page.locator("#toasts").get_by_role("button", name="Undo").tap()
        expect_question(page, 0)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE.width
        assert axe_findings(page) == []
