"""The review queue: by keyboard, by touch, in groups, and without a script."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from starlette.testclient import TestClient
from support.browser import PHONE, Screen, axe_findings, open_page
from support.library_photos import EIFFEL, GATE, VERSAILLES, LibraryPhotos, picture

pytestmark = pytest.mark.usefixtures("shared_thumbnails")

PHOTOS = 6


@pytest.fixture
def library(library: LibraryPhotos) -> LibraryPhotos:
    """Six photos on which the model is less and less sure of the tower, from the first to the last."""
    for n in range(PHOTOS):
        data = picture((30 * n, 120, 200 - 20 * n))
        library.file(f"photo-{n}.jpg", (EIFFEL, 0.6 - n / 100, True), data=data)
    library.file("sure.jpg", (EIFFEL, 0.95, True), data=picture((0, 0, 90)))
    return library


def verdicts(page: Page) -> dict[str, str]:
    """The stored verdicts, by the number in the photo's name and the landmark."""
    listed = page.request.get("/api/verdicts").json()["verdicts"]
    return {f"{Path(each['path']).stem[-1]} {each['landmark']}": each["verdict"] for each in listed}


def expect_question(page: Page, number: int, photo: int, total: int = PHOTOS) -> None:
    expect(page.locator(".review-progress")).to_have_text(f"{number} of {total}")
    expect(page.locator("#review")).to_contain_text(f"photo-{photo}.jpg")


def wait_for_verdicts(page: Page, expected: dict[str, str]) -> None:
    for _ in range(100):
        if verdicts(page) == expected:
            return
        page.wait_for_timeout(100)
    assert verdicts(page) == expected


def dismissed(page: Page) -> list[dict[str, str]]:
    photos: list[dict[str, str]] = page.request.get("/api/photos?dismissed=1").json()["photos"]
    return photos


def test_the_queue_is_answered_by_keyboard(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/review/one", base=address) as page:
        expect_question(page, 1, 0)
        expect(page.get_by_role("heading", name="Eiffel Tower?")).to_be_visible()
        expect(page.locator(".review-examples img")).to_have_count(6)
        expect(page.locator('.site-nav [href="/review"] .nav-count')).to_contain_text("6")
        page.keyboard.press("c")
        expect_question(page, 2, 1)
        page.keyboard.press("u")
        expect_question(page, 1, 0)
        page.keyboard.press("c")
        expect_question(page, 2, 1)
        page.keyboard.press("r")
        expect_question(page, 3, 2)
        page.keyboard.press("s")
        expect_question(page, 4, 3)
        expect(page.locator("#announcement")).to_contain_text("Skipped")
        page.keyboard.press("n")
        page.get_by_label("Landmark, city or country").fill("versailles")
        expect(page.get_by_label("Instead of Eiffel Tower")).to_be_checked()
        expect(page.locator("[data-results] button").first).to_be_visible()  # the landmarks are loaded
        page.keyboard.press("Enter")
        expect_question(page, 5, 4)
        page.keyboard.press("x")
        expect_question(page, 6, 5)
        page.keyboard.press("r")
        expect(page.get_by_role("heading", name="This was the last one")).to_be_visible()
        expect(page.locator("#review")).to_contain_text("1 photo is left")
        assert axe_findings(page) == []
        expected = {f"{n} {EIFFEL}": "rejected" for n in (1, 3, 5)}
        wait_for_verdicts(page, {f"0 {EIFFEL}": "confirmed", f"3 {VERSAILLES}": "confirmed", **expected})
        assert [Path(photo["path"]).name for photo in dismissed(page)] == ["photo-4.jpg"]
        page.get_by_role("link", name="Review it").click()
        expect_question(page, 1, 2, total=1)
        page.wait_for_load_state()  # the script of the new page listens to keys by then
        page.keyboard.press("c")
        expect(page.get_by_role("heading", name="Nothing left to review")).to_be_visible()


@pytest.mark.slow
def test_undo_returns_to_the_photo_and_failures_are_reported(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/review/one", base=address) as page:
        page.keyboard.press("r")
        expect_question(page, 2, 1)
        page.keyboard.press("c")
        expect_question(page, 3, 2)
        page.keyboard.press("ArrowRight")
        expect_question(page, 4, 3)
        page.keyboard.press("u")
        expect_question(page, 3, 2)
        wait_for_verdicts(page, {f"0 {EIFFEL}": "rejected", f"1 {EIFFEL}": "confirmed"})
        page.keyboard.press("u")
        page.keyboard.press("u")
        expect_question(page, 1, 0)
        wait_for_verdicts(page, {})
        page.keyboard.press("u")
        expect(page.get_by_role("button", name="Undo")).to_be_disabled()
        # Another landmark and not a landmark are undone at once.
        page.keyboard.press("n")
        page.get_by_label("Landmark, city or country").fill("versailles")
        expect(page.locator("[data-results] button").first).to_be_visible()  # the landmarks are loaded
        page.keyboard.press("Enter")
        expect_question(page, 2, 1)
        wait_for_verdicts(page, {f"0 {VERSAILLES}": "confirmed", f"0 {EIFFEL}": "rejected"})
        page.keyboard.press("u")
        expect_question(page, 1, 0)
        wait_for_verdicts(page, {})
        page.get_by_role("button", name="Not a landmark").click()
        expect_question(page, 2, 1)
        page.keyboard.press("u")
        expect_question(page, 1, 0)
        page.wait_for_load_state("networkidle")
        assert dismissed(page) == []
        # A verdict that is not stored is reported.
        page.route("**/api/photos/*/verdicts", lambda route: route.fulfill(status=200, body="{"))
        page.keyboard.press("c")
        expect_question(page, 2, 1)
        expect(page.locator(".toast--bad")).to_contain_text("Eiffel Tower was not changed")
        page.get_by_role("button", name="Show photo").click()
        expect_question(page, 1, 0)
        expect(page.get_by_role("button", name="Undo")).to_be_disabled()


def test_a_group_is_confirmed_at_once_and_what_was_clicked_away_rejected(
    browser: Browser, address: str
) -> None:
    with open_page(browser, f"{address}/review", base=address) as page:
        group = page.locator(f'[data-group][data-landmark="{EIFFEL}"]')
        expect(group.get_by_role("checkbox", checked=True)).to_have_count(PHOTOS)
        assert axe_findings(page) == []
        group.locator("li").nth(2).click()
        group.get_by_role("button", name="Confirm").click()
        expect(page.locator("#toasts")).to_contain_text("5 photos confirmed as Eiffel Tower, 1 rejected")
        given = {f"{n} {EIFFEL}": "rejected" if n == 2 else "confirmed" for n in range(PHOTOS)}
        wait_for_verdicts(page, given)
        page.get_by_role("button", name="Undo").click()
        wait_for_verdicts(page, {})


def test_all_groups_are_confirmed_at_once_or_one_after_the_other(
    browser: Browser, address: str, library: LibraryPhotos
) -> None:
    library.file("gate.jpg", (GATE, 0.7, True), data=picture((0, 90, 0)))
    with open_page(browser, f"{address}/review", base=address) as page:
        groups = page.locator("[data-group]")
        groups.nth(0).get_by_role("button", name="Confirm").click()
        expect(groups.nth(1).get_by_role("button", name="Confirm")).to_be_focused()
        page.get_by_role("button", name="Undo").click()
        expect(groups.nth(0)).not_to_have_attribute("data-done", "")
        page.get_by_role("button", name="Confirm all shown").click()
        expect(page.locator("#toasts")).to_contain_text("7 photos confirmed")
        assert set(verdicts(page).values()) == {"confirmed"}
        assert len(verdicts(page)) == PHOTOS + 1
        page.get_by_role("button", name="Undo").last.click()
        wait_for_verdicts(page, {})


def test_without_a_script_review_shows_its_photos(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/review", script=False) as page:
        expect(page.locator("[data-group] img:visible")).to_have_count(PHOTOS)
        expect(page.locator("[data-action]:visible")).to_have_count(0)


@pytest.mark.parametrize(("width", "height"), [(844, 390), (720, 450)])
def test_on_a_low_screen_the_photo_is_largest_and_the_verdicts_are_there(
    browser: Browser, address: str, width: int, height: int
) -> None:
    screen = Screen(width, height, touch=True)
    with open_page(browser, f"{address}/review/one", screen=screen, base=address) as page:
        stage, actions = (page.locator(each).bounding_box() for each in (".photo-stage", ".review-actions"))
        assert stage
        assert actions
        assert actions["y"] + actions["height"] <= height
        assert stage["y"] + stage["height"] <= height
        assert stage["width"] * stage["height"] > actions["width"] * actions["height"]
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_groups_have_what_is_probable_first(client: TestClient, library: LibraryPhotos) -> None:
    gate = library.file("gate.jpg", (EIFFEL, 0.1, False), data=picture((9, 9, 9)))
    library.taught(gate, GATE, 0.5, accepted=False)
    page = client.get("/review").text
    assert re.findall(r'data-landmark="([^"]*)"', page) == [EIFFEL, GATE]
    assert len(re.findall(r'type="checkbox" value="\d+" checked', page)) == PHOTOS + 1
    only = client.get(f"/review?landmark={GATE}").text
    assert re.findall(r'data-landmark="([^"]*)"', only) == [GATE]
    assert f'href="/review/one?landmark={GATE}"' in only
    assert client.get("/review?landmark=nowhere").status_code == 404


def test_one_landmark_is_reviewed(client: TestClient, library: LibraryPhotos) -> None:
    gate = library.file("gate.jpg", (EIFFEL, 0.1, False), data=picture((9, 9, 9)))
    library.taught(gate, GATE, 0.5, accepted=False)
    assert "Suggested: 50" in client.get(f"/review/one?landmark={GATE}").text
    page = client.get(f"/review/one?landmark={GATE}").text
    assert question_of(page) == ("1 of 1", "gate.jpg")
    body = {"landmark": GATE, "verdict": "confirmed"}
    assert client.post(f"/api/photos/{gate}/verdicts", json=body).status_code == 200
    page = client.get(f"/review/one?landmark={GATE}").text
    assert "Every suggestion of Brandenburg Gate has a verdict" in page
    assert client.get("/review/one?landmark=nowhere").status_code == 404


def question_of(page: str) -> tuple[str, str]:
    """The number of the question, and the name of the photo."""
    (number,) = re.findall(r'review-progress">([^<]*)<', page)
    (name,) = re.findall(r'<a href="/photos/\d+">([^<]*)</a>', page.replace("<wbr>", ""))
    return number, name


def test_on_a_phone_fingers_review(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/review/one", screen=PHONE, base=address) as page:
        for name in ("confirmed", "rejected", "name", "skip", "undo"):
            box = page.locator(f'#review [data-action="{name}"]').bounding_box()
            assert box is not None, name
            assert min(box["height"], box["width"]) >= 44, name
            assert box["y"] + box["height"] <= PHONE.height, name
        question, actions = (
            page.locator(each).bounding_box() for each in (".photo-title", ".review-actions")
        )
        assert question
        assert actions
        assert question["y"] + question["height"] < actions["y"]
        page.get_by_role("button", name="Confirm").tap()
        expect_question(page, 2, 1)
        page.get_by_role("button", name="Undo").tap()
        expect_question(page, 1, 0)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE.width
        assert axe_findings(page) == []


def test_an_invalid_or_outdated_position_starts_again(client: TestClient, library: LibraryPhotos) -> None:
    for after in (
        *("s_99999_0.5_1", f"s_{-(2**64)}_0.5_1", "x", "s_1_nan_1"),
        *("t_1_0.5", "t_1_0.5_99999999999999999999", "s__0_1"),
    ):
        page = client.get(f"/review/one?after={after}", follow_redirects=True).text
        assert question_of(page) == ("1 of 6", "photo-0.jpg"), after
