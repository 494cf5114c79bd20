"""One photo on its page, and many at once in a grid: by keys, by hand, and without script."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import DESKTOP, PHONE, Screen, axe_findings, open_browser, open_page, serving
from library_photos import EIFFEL, GATE, LibraryPhotos, picture
from playwright.sync_api import Browser, Page, expect
from starlette.testclient import TestClient

from tagger.database import Database
from tagger.settings import Settings

STATE = f'#judgement [data-landmark="{EIFFEL}"]'


@pytest.fixture
def library(web_database: Database, web_settings: Settings, tmp_path: Path) -> LibraryPhotos:
    made = LibraryPhotos(web_database, web_settings, tmp_path / "photos")
    for n in range(4):
        data = picture((60 * n, 120, 200 - 40 * n), (1200, 800))
        made.file(f"photo-{n}.jpg", (EIFFEL, 0.8, True), (GATE, 0.1, False), data=data)
    return made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def address(web_settings: Settings, library: LibraryPhotos) -> Iterator[str]:
    with serving(web_settings) as url:
        yield url


# ---------- as it comes from the server ----------


def test_the_page_says_what_is_known(client: TestClient, library: LibraryPhotos) -> None:
    page = client.get("/photos/1")
    assert page.status_code == 200
    for words in ("Eiffel Tower", "photo-0.jpg", str(library.root), 'href="/api/photos/1"', "map-pin"):
        assert words in page.text
    assert "named by the model" in page.text
    assert "seen, too unsure" in page.text


def test_a_form_gives_a_word_and_takes_it_back(client: TestClient, library: LibraryPhotos) -> None:
    form = {"landmark": EIFFEL, "verdict": "rejected", "context": f"landmark={EIFFEL}&within=1"}
    answer = client.post("/photos/1/verdict", data=form)
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/photos/1?landmark={EIFFEL}&within=1#judgement"
    page = client.get("/photos/1").text
    assert 'data-state="rejected"' in page
    assert "by web " in page
    client.post("/photos/1/verdict", data={**form, "undo": "1"})
    assert 'data-state="rejected"' not in client.get("/photos/1").text


def test_a_landmark_that_nobody_knows_is_said(client: TestClient, library: LibraryPhotos) -> None:
    answer = client.post("/photos/1/verdict", data={"landmark": "<b>x</b>", "verdict": "confirmed"})
    assert answer.status_code == 404
    assert "&lt;b&gt;x" in answer.text
    assert "<b>x" not in answer.text


def test_a_photos_name_is_text_whatever_it_is(client: TestClient, library: LibraryPhotos) -> None:
    number = library.number("<img src=x onerror=alert(1)>.jpg", (EIFFEL, 0.9, True))
    page = client.get(f"/photos/{number}").text
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page


def test_a_photo_that_is_not_there_is_said(client: TestClient) -> None:
    assert client.get("/photos/999").status_code == 404


def test_neighbours_are_those_of_the_query(client: TestClient, library: LibraryPhotos) -> None:
    other = library.number("gate.jpg", (GATE, 0.9, True))
    page = client.get("/photos/2", params={"landmark": EIFFEL}).text
    assert f'rel="prev" href="/photos/1?landmark={EIFFEL}&amp;within=1"' in page
    assert f'rel="next" href="/photos/3?landmark={EIFFEL}&amp;within=1"' in page
    last = client.get("/photos/4", params={"landmark": EIFFEL}).text
    assert 'rel="next"' not in last
    assert f"/photos/{other}?" in client.get("/photos/4", params={"within": "1"}).text
    assert 'rel="prev"' not in client.get("/photos/2").text


def test_neighbours_stay_when_a_word_takes_the_photo_out_of_the_query(
    client: TestClient, library: LibraryPhotos
) -> None:
    page = client.get("/photos/2", params={"landmark": EIFFEL}).text
    context = page.split('name="context" value="')[1].split('"')[0].replace("&amp;", "&")
    form = {"landmark": EIFFEL, "verdict": "rejected", "context": context}
    after = client.get(client.post("/photos/2/verdict", data=form).headers["location"]).text
    assert 'rel="prev" href="/photos/1?' in after
    assert 'rel="next" href="/photos/3?' in after


def test_neighbours_go_on_from_one_page_of_the_answer_to_the_next(
    client: TestClient, library: LibraryPhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tagger.web.pages.neighbours.PAGE", 2)
    seen, here = [], f"/photos/1?landmark={EIFFEL}"
    while here:
        page = client.get(here).text
        seen.append(here.split("?", maxsplit=1)[0])
        here = page.partition('rel="next" href="')[2].split('"')[0].replace("&amp;", "&")
        back = page.partition('rel="prev" href="')[2].split("?")[0]
        assert back == (seen[-2] if len(seen) > 1 else "")
    assert seen == [f"/photos/{n}" for n in range(1, 5)]


# ---------- in a browser ----------


def state(page: Page, word: str) -> None:
    expect(page.locator(STATE)).to_have_attribute("data-state", word)


def test_keys_confirm_reject_and_undo(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/photos/1") as page:
        page.keyboard.press("r")
        state(page, "rejected")
        expect(page.locator("#said")).to_have_text("Eiffel Tower rejected")
        page.keyboard.press("c")
        state(page, "confirmed")
        expect(page.locator("#said")).to_have_text("Eiffel Tower confirmed")
        page.keyboard.press("u")
        state(page, "rejected")
        page.keyboard.press("2")
        page.keyboard.press("c")
        expect(page.locator(f'[data-landmark="{GATE}"]')).to_have_attribute("data-state", "confirmed")
        expect(page.locator("#said")).to_have_text("Brandenburg Gate confirmed")  # the server has it
        page.reload()
        state(page, "rejected")


def test_another_landmark_is_named_in_a_dialog(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/photos/1") as page:
        page.keyboard.press("n")
        page.get_by_label("Landmark, city or country").fill("versailles")
        page.keyboard.press("Enter")
        expect(page.locator('[data-landmark="chateau-de-versailles"]')).to_have_attribute(
            "data-state", "confirmed"
        )
        page.keyboard.press("?")
        expect(page.get_by_role("heading", name="Keys")).to_be_visible()
        assert axe_findings(page) == []


def test_arrows_go_to_the_photos_beside(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/photos/1?landmark={EIFFEL}") as page:
        page.keyboard.press("ArrowRight")
        page.wait_for_url("**/photos/2?**")
        page.keyboard.press("ArrowLeft")
        page.wait_for_url("**/photos/1?**")


def test_a_word_that_fails_is_put_right(browser: Browser, address: str) -> None:
    page = browser.new_page()
    page.goto(f"{address}/photos/1")
    page.context.set_offline(True)
    page.keyboard.press("r")
    expect(page.locator(".toast").first).to_contain_text("stays as it was")
    state(page, "accepted")
    page.close()


def test_of_two_people_the_last_word_holds(browser: Browser, address: str) -> None:
    there = f"{address}/photos/1"
    with open_page(browser, there) as one, open_page(browser, there) as other:
        one.keyboard.press("c")
        expect(one.locator("#said")).to_have_text("Eiffel Tower confirmed")
        other.keyboard.press("r")
        expect(other.locator("#said")).to_have_text("Eiffel Tower rejected")
        for page in (one, other):
            page.reload()
            state(page, "rejected")


def test_without_script_buttons_do_the_same(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/photos/1", script=False) as page:
        page.get_by_role("button", name="Reject Eiffel Tower").click()
        state(page, "rejected")
        page.get_by_role("button", name="Take back Eiffel Tower").click()
        state(page, "accepted")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("screen", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_axe_finds_nothing_and_nothing_is_cut_off(
    browser: Browser, address: str, screen: Screen, dark: bool
) -> None:
    with open_page(browser, f"{address}/photos/2?landmark={EIFFEL}", screen=screen, dark=dark) as page:
        page.keyboard.press("r")
        state(page, "rejected")
        page.wait_for_timeout(600)  # what fades in has no contrast yet
        assert axe_findings(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == screen.width


# ---------- many at once ----------


def selecting(page: Page) -> None:
    page.get_by_role("button", name="Select").click()


def test_a_range_is_rejected_and_undone(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/landmarks/{EIFFEL}") as page:
        selecting(page)
        tiles = page.locator("[data-grid] > li")
        tiles.nth(0).click()
        tiles.nth(2).click(modifiers=["Shift"])
        expect(page.locator(".action-bar")).to_contain_text("3 photos chosen")
        page.get_by_role("button", name="Reject all").click()
        expect(page.locator("#toasts")).to_contain_text("3 photos rejected")
        page.locator(".action-bar").get_by_role("button", name="Undo").click()
        expect(page.locator("#toasts")).to_contain_text("Undone on 3 photos")
        assert axe_findings(page) == []


def test_the_keyboard_chooses_and_photos_remember_their_query(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/landmarks/{EIFFEL}") as page:
        selecting(page)
        page.locator("[data-grid] > li a").nth(1).focus()
        page.keyboard.press("Space")
        expect(page.locator(".action-bar")).to_contain_text("1 photo chosen")
        page.get_by_role("button", name="Done").click()
        page.locator("[data-grid] > li a").nth(1).click()
        page.wait_for_url(f"**/photos/2?landmark={EIFFEL}&within=1")


def test_more_than_fifty_are_asked_about(browser: Browser, address: str, library: LibraryPhotos) -> None:
    for n in range(56):
        library.number(f"more-{n}.jpg", (EIFFEL, 0.9, True))
    page = browser.new_page(viewport={"width": 1440, "height": 2000})  # photos without files complain
    page.goto(f"{address}/landmarks/{EIFFEL}")
    selecting(page)
    tiles = page.locator("[data-grid] > li")
    expect(tiles).to_have_count(60)
    tiles.nth(0).click()
    tiles.nth(59).click(modifiers=["Shift"])
    page.get_by_role("button", name="Confirm all").click()
    page.get_by_role("button", name="Confirm 60 photos").click()
    expect(page.locator("#toasts")).to_contain_text("60 photos confirmed")
    page.close()
