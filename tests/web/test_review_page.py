"""The review queue in a browser: by keyboard, by touch, without JavaScript, and for a read-only session."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from support.browser import PHONE, axe_findings, open_page, serving
from support.library_photos import EIFFEL, GATE, VERSAILLES, LibraryPhotos, picture
from support.page_server import TOKEN

from tagger.access.tokens import add_token
from tagger.database.connection import Database
from tagger.settings import Settings

pytestmark = pytest.mark.usefixtures("shared_thumbnails")

PHOTOS = 6


@pytest.fixture
def library(web_database: Database, web_settings: Settings, tmp_path: Path) -> LibraryPhotos:
    """Six photos on which the model is less and less sure of the tower, from the last to the first."""
    library = LibraryPhotos(web_database, web_settings, tmp_path / "photos")
    for n in range(PHOTOS):
        data = picture((30 * n, 120, 200 - 20 * n))
        library.file(f"photo-{n}.jpg", (EIFFEL, 0.6 + n / 100, True), data=data)
    library.file("sure.jpg", (EIFFEL, 0.95, True), data=picture((0, 0, 90)))
    return library


@pytest.fixture
def address(web_settings: Settings, library: LibraryPhotos) -> Iterator[str]:
    with serving(web_settings) as url:
        yield url


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


def test_the_queue_is_answered_by_keyboard(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/review", base=address) as page:
        expect_question(page, 1, 0)
        expect(page.get_by_role("heading", name="Eiffel Tower?")).to_be_visible()
        expect(page.locator(".review-examples img")).to_have_count(6)
        expect(page.locator('.site-nav [href="/review"] .nav-count')).to_contain_text("6")
        assert axe_findings(page) == []
        page.keyboard.press("c")
        expect_question(page, 2, 1)
        page.keyboard.press("r")
        expect_question(page, 3, 2)
        page.keyboard.press("s")
        expect_question(page, 4, 3)
        expect(page.locator("#announcement")).to_have_text("Skipped. Eiffel Tower? 4 of 6")
        page.keyboard.press("c")
        expect_question(page, 5, 4)
        page.keyboard.press("c")
        expect_question(page, 6, 5)
        page.keyboard.press("r")
        expect(page.get_by_role("heading", name="This was the last one")).to_be_visible()
        expect(page.locator("[data-tally]")).to_have_text("3 confirmed, 2 rejected, 1 skipped")
        expect(page.locator("#review")).to_contain_text("1 photo is left")
        assert axe_findings(page) == []
        expected = {f"{n} {EIFFEL}": verdict for n, verdict in ((0, "confirmed"), (1, "rejected"))}
        expected |= {f"{n} {EIFFEL}": verdict for n, verdict in ((3, "confirmed"), (4, "confirmed"))}
        wait_for_verdicts(page, {**expected, f"5 {EIFFEL}": "rejected"})
        page.get_by_role("link", name="Review it").click()
        expect_question(page, 1, 2, total=1)
        page.wait_for_load_state()  # the script of the new page listens to keys by then
        page.keyboard.press("c")
        expect(page.get_by_role("heading", name="Nothing left to review")).to_be_visible()


@pytest.mark.slow
def test_the_photo_is_in_the_middle(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/review", base=address) as page:
        page.locator(".photo-stage img").scroll_into_view_if_needed()
        stage, photo = (page.locator(each).bounding_box() for each in (".photo-stage", ".photo-stage img"))
        assert stage
        assert photo
        for start, length in (("x", "width"), ("y", "height")):
            middles = [box[start] + box[length] / 2 for box in (stage, photo)]  # type: ignore[literal-required]
            assert abs(middles[0] - middles[1]) < 2, start


@pytest.mark.slow
def test_undo_returns_to_the_photo_and_so_does_the_arrow(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/review", base=address) as page:
        page.keyboard.press("r")
        expect_question(page, 2, 1)
        page.keyboard.press("c")
        expect_question(page, 3, 2)
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowLeft")
        expect_question(page, 1, 0)
        expect(page.locator("[data-state]")).to_have_text("Eiffel Tower rejected")
        page.keyboard.press("ArrowRight")  # the rejected photo is not left out
        expect_question(page, 2, 1)
        expect(page.locator("[data-state]")).to_have_text("Eiffel Tower confirmed")
        page.keyboard.press("r")
        expect_question(page, 3, 2)
        page.keyboard.press("u")
        expect_question(page, 2, 1)
        expect(page.locator("[data-state]")).to_have_text("Eiffel Tower confirmed")
        wait_for_verdicts(page, {f"0 {EIFFEL}": "rejected", f"1 {EIFFEL}": "confirmed"})
        page.keyboard.press("u")
        page.keyboard.press("u")
        expect_question(page, 1, 0)
        expect(page.locator("[data-state]")).to_be_hidden()
        wait_for_verdicts(page, {})
        page.keyboard.press("u")
        expect(page.get_by_role("button", name="Undo")).to_be_disabled()
        page.keyboard.press("s")
        page.reload()
        expect_question(page, 2, 1)


@pytest.mark.slow
def test_a_photo_that_is_not_of_a_landmark_is_put_away(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/review", base=address) as page:
        expect_question(page, 1, 0)
        page.keyboard.press("x")
        expect_question(page, 2, 1)
        page.keyboard.press("u")
        expect_question(page, 1, 0)
        page.get_by_role("button", name="Not a landmark").click()
        expect_question(page, 2, 1)
        for _ in range(300):
            found = page.request.get("/api/photos?dismissed=1").json()["photos"]
            if [Path(photo["path"]).name for photo in found] == ["photo-0.jpg"]:
                break
            page.wait_for_timeout(100)
        assert [Path(photo["path"]).name for photo in found] == ["photo-0.jpg"]


@pytest.mark.slow
def test_another_landmark_is_named_instead_and_undone_at_once(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/review", base=address) as page:
        page.keyboard.press("n")
        page.get_by_label("Landmark, city or country").fill("versailles")
        expect(page.get_by_label("Instead of Eiffel Tower")).to_be_checked()
        expect(page.locator("[data-results] button").first).to_be_visible()  # the landmarks are loaded
        page.keyboard.press("Enter")
        expect_question(page, 2, 1)
        wait_for_verdicts(page, {f"0 {VERSAILLES}": "confirmed", f"0 {EIFFEL}": "rejected"})
        page.keyboard.press("u")
        expect_question(page, 1, 0)
        wait_for_verdicts(page, {})


@pytest.mark.slow
def test_a_verdict_that_is_not_stored_is_reported(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/review", base=address) as page:
        page.route("**/api/photos/*/verdicts", lambda route: route.fulfill(status=200, body="{"))
        page.keyboard.press("c")
        expect_question(page, 2, 1)
        expect(page.locator(".toast--bad")).to_contain_text("Eiffel Tower was not changed")
        page.get_by_role("button", name="Show photo").click()
        expect_question(page, 1, 0)
        expect(page.locator("[data-state]")).to_be_hidden()
        expect(page.get_by_role("button", name="Undo")).to_be_disabled()


@pytest.mark.slow
def test_one_landmark_is_reviewed(browser: Browser, address: str, library: LibraryPhotos) -> None:
    gate = library.file("gate.jpg", (EIFFEL, 0.1, False), data=picture((9, 9, 9)))
    library.taught(gate, GATE, 0.5, accepted=False)
    with open_page(browser, f"{address}/review", base=address) as page:
        expect(page.locator("#review")).to_contain_text("Suggested: 50")
        page.goto(f"/review?landmark={GATE}")
        expect(page.locator(".review-progress")).to_have_text("1 of 1")
        page.keyboard.press("c")
        expect(page.locator(".empty")).to_contain_text("Every suggestion of Brandenburg Gate has a verdict")


def test_on_a_phone_fingers_review(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/review", screen=PHONE, base=address) as page:
        for name in ("confirmed", "rejected", "name", "skip", "previous", "undo"):
            box = page.locator(f'#review [data-action="{name}"]').bounding_box()
            assert box is not None, name
            assert min(box["height"], box["width"]) >= 44, name
            assert box["y"] + box["height"] <= PHONE.height, name
        page.get_by_role("button", name="Confirm").tap()
        expect_question(page, 2, 1)
        page.get_by_role("button", name="Undo").tap()
        expect_question(page, 1, 0)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE.width
        assert axe_findings(page) == []


@pytest.mark.slow
def test_forms_review_without_javascript(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/review", script=False, base=address) as page:
        page.get_by_role("button", name="Reject").click()
        expect_question(page, 2, 1)
        assert verdicts(page) == {f"0 {EIFFEL}": "rejected"}
        page.locator('[data-action="skip"]').click()
        expect_question(page, 3, 2)
        page.get_by_role("button", name="Confirm").click()
        expect(page.locator("form.notice")).to_contain_text("Eiffel Tower confirmed")
        page.get_by_role("button", name="Undo").click()
        expect_question(page, 3, 2)
        assert verdicts(page) == {f"0 {EIFFEL}": "rejected"}


@pytest.mark.slow
def test_a_read_only_session_sees_no_buttons_for_verdicts(
    browser: Browser, web_settings: Settings, web_database: Database, library: LibraryPhotos
) -> None:
    _, secret = add_token(web_database, "guest", read_only=True)
    with (
        serving(web_settings, token=TOKEN) as url,
        open_page(browser, f"{url}/sign-in", base=url) as page,
    ):
        page.get_by_label("Token").fill(secret)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{url}/library")
        expect(page.locator(".site-nav")).not_to_contain_text("To review")
        page.goto("/review")
        expect_question(page, 1, 0)
        for name in ("Confirm", "Reject", "Undo", "Other place"):
            expect(page.get_by_role("button", name=name)).to_have_count(0)
        for key in "cnus":
            page.keyboard.press(key)
        expect_question(page, 2, 1)
        assert verdicts(page) == {}


@pytest.mark.slow
def test_an_invalid_or_outdated_position_starts_again(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/review?after=s_99999_0.5_1", base=address) as page:
        expect_question(page, 1, 0)
        for after in (
            f"s_{-(2**64)}_0.5_1",
            "x",
            "s_1_nan_1",
            "t_1_0.5",
            "t_1_0.5_99999999999999999999",
            "s__0_1",
        ):
            page.goto(f"/review?after={after}&last={after}&back={after}")
            expect_question(page, 1, 0)
        assert page.request.get("/review?landmark=nowhere").status == 404
