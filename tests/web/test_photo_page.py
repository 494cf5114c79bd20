"""The page of a photo: facts, links, and verdicts by keyboard, mouse and without JavaScript."""

import re
from html import unescape

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import update
from starlette.testclient import TestClient
from support.browser import PHONE, axe_findings, open_page
from support.library_photos import EIFFEL, GATE, VERSAILLES, LibraryPhotos, picture

from tagger.database.tables import contents
from tagger.web.pages.try_photo import ScoreBar, UploadPrediction

NAMES = ("Eiffel Tower", "Brandenburg Gate")
STATE = f'#landmarks [data-landmark="{EIFFEL}"]'
pytestmark = pytest.mark.usefixtures("shared_thumbnails")


@pytest.fixture
def library(library: LibraryPhotos) -> LibraryPhotos:
    for n in range(4):
        data = picture((60 * n, 120, 200 - 40 * n), (300, 200))
        library.file(f"photo-{n}.jpg", (EIFFEL, 0.8, True), (GATE, 0.1, False), data=data)
    return library


# ---------- rendered by the server ----------


def test_the_page_shows_the_known_facts(client: TestClient, library: LibraryPhotos) -> None:
    answer = client.get("/photos/1")
    assert answer.status_code == 200
    page = answer.text.replace("<wbr>", "")
    for words in ("Eiffel Tower", "photo-0.jpg", str(library.root), "map-pin"):
        assert words in page
    assert page.count("accepted by the model") == 1
    assert page.count('class="bar"') == 1  # the others are a line each


def test_a_position_has_its_error_its_place_and_what_it_follows_from(
    client: TestClient, library: LibraryPhotos
) -> None:
    def facts(number: int) -> str:
        page = client.get(f"/photos/{number}").text
        return " ".join(re.findall(r"<dt>Position</dt>.*?<dt>Model", page, re.DOTALL)[0].split())

    evidence = {"before": 1, "before_s": 720, "after": 2, "after_s": 480}
    library.position("photo-0.jpg", 48.7, 2.2, "France")
    library.position(
        "photo-1.jpg", 48.8584, 2.2945, "France", "landmark", landmark=library.landmark_ids[EIFFEL]
    )
    library.position("photo-2.jpg", 48.795, 2.2567, "France", "neighbour", **evidence)
    library.position("photo-3.jpg", 48.795, 2.2567, None, "neighbour", before=999, before_s=5)
    assert "48.70000, 2.20000 ± 30 m" in facts(1)
    assert "From the camera's GPS" in facts(1)
    assert "From the landmark Eiffel Tower" in facts(2)
    assert (
        'Between <a href="/photos/1">photo-0.jpg</a> (GPS, 12 min before) and '
        '<a href="/photos/2">photo-1.jpg</a> (Eiffel Tower, 8 min after)'
    ) in facts(3)
    assert 'href="/photos?near=48.7950%2C2.2567&amp;radius_km=1">France</a>' in facts(3)
    assert "What it followed from is gone" in facts(4)
    assert "Photos near here" in facts(4)
    found = client.get("/api/photos?near=48.7950,2.2567&radius_km=1").json()["photos"]
    assert [photo["id"] for photo in found] == [3, 4]
    evidence_document = client.get("/api/photos/3").json()["evidence"]
    assert evidence_document["before"]["id"] == 1


def test_taught_and_suggested_landmarks_are_named_so(client: TestClient, library: LibraryPhotos) -> None:
    number = library.file("church.jpg", (EIFFEL, 0.1, False), data=picture((1, 2, 3)))
    library.taught(number, GATE, 0.9, accepted=True)
    library.taught(number, VERSAILLES, 0.4, accepted=False)
    page = client.get(f"/photos/{number}").text
    states = re.findall(r'data-landmark="([^"]*)".*?data-state-text>([^<]*)<', page, re.DOTALL)
    assert states == [(EIFFEL, ""), (GATE, "taught"), (VERSAILLES, "suggested")]


def test_what_is_hardly_likely_is_folded_away_but_keeps_its_key(
    client: TestClient, library: LibraryPhotos
) -> None:
    output = ((EIFFEL, 0.9, True), (GATE, 0.004, False), (VERSAILLES, 0.002, False))
    number = library.file("sure.jpg", *output, data=picture((1, 2, 3)))
    page = client.get(f"/photos/{number}").text
    assert "2 others below 1\u202f%" in page
    client.post(f"/photos/{number}/verdict", data={"landmark": VERSAILLES})
    page = client.get(f"/photos/{number}").text
    assert "1 other below" in page
    keys = re.findall(r'data-landmark="([^"]*)"[^>]*data-key="(\d)"', page)
    assert keys == [(EIFFEL, "1"), (VERSAILLES, "3"), (GATE, "2")]


def test_a_form_gives_a_verdict_and_withdraws_it(client: TestClient, library: LibraryPhotos) -> None:
    form = {"landmark": EIFFEL, "verdict": "rejected"}
    answer = client.post(f"/photos/1/verdict?landmark={EIFFEL}&within=1", data=form)
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/photos/1?landmark={EIFFEL}&within=1#landmarks"
    page = client.get("/photos/1").text
    assert 'data-state="rejected"' in page
    assert "by web " in page
    client.post("/photos/1/verdict", data={**form, "withdraw": "1"})
    assert 'data-state="rejected"' not in client.get("/photos/1").text


def test_a_form_puts_a_photo_away_and_brings_it_back(client: TestClient, library: LibraryPhotos) -> None:
    for title, form in (("Not a landmark", {}), ("Eiffel Tower", {"withdraw": "1"})):
        page = client.get("/photos/1").text
        assert ('name="withdraw" value="1"' in page) == bool(form)
        address = unescape(re.findall(r'action="([^"]*)" data-dismissal', page)[0])
        assert client.post(address, data=form).status_code == 303
        assert re.search(rf'<h1 class="photo-title">(<a [^>]*>)?{title}<', client.get("/photos/1").text)


def test_another_landmark_stands_instead_of_what_only_the_model_says(
    client: TestClient, library: LibraryPhotos
) -> None:
    assert "Instead of Eiffel Tower" in client.get("/photos/1").text
    client.post("/photos/1/verdict", data={"landmark": GATE, "instead": "1"})
    client.post("/photos/1/verdict", data={"landmark": VERSAILLES, "instead": "1"})
    output = {each["landmark"]: each["verdict"] for each in client.get("/api/photos/1").json()["verdicts"]}
    assert output == {GATE: "confirmed", EIFFEL: "rejected", VERSAILLES: "confirmed"}
    assert "Instead of" not in client.get("/photos/1").text


def test_what_a_photo_shows_is_said_as_when_it_is_tried(client: TestClient, library: LibraryPhotos) -> None:
    for n, (scores, words) in enumerate(
        (((0.56, 0.05), "Perhaps Eiffel Tower"), ((0.3, 0.2), "No landmark"), ((), "No landmark"))
    ):
        output = zip((EIFFEL, GATE), scores, (False, False), strict=False)
        number = library.file(f"open-{n}.jpg", *output, data=picture((n, 9, 99)))
        page = client.get(f"/photos/{number}").text
        assert f'<h1 class="photo-title">{words}</h1>' in page
        assert "map-pin" not in page
        bars = tuple(
            ScoreBar(name, "", score, False, None) for name, score in zip(NAMES, scores, strict=False)
        )
        assert UploadPrediction(bars, 0.0, 1.0 - sum(scores), 0.6, "tiny", 84).headline == words
    guessed = next(photo for photo in (5, 6, 7) if "Perhaps" in client.get(f"/photos/{photo}").text)
    client.post(f"/photos/{guessed}/verdict", data={"landmark": EIFFEL, "verdict": "rejected"})
    assert "Perhaps" not in client.get(f"/photos/{guessed}").text


def test_a_position_of_a_rejected_landmark_is_not_shown(client: TestClient, library: LibraryPhotos) -> None:
    landmark = library.landmark_ids[EIFFEL]
    library.position("photo-0.jpg", 48.8584, 2.2945, "France", "landmark", landmark=landmark)
    assert "map-pin" in client.get("/photos/1").text
    client.post("/photos/1/verdict", data={"landmark": EIFFEL, "verdict": "rejected"})
    page = client.get("/photos/1").text
    assert "map-pin" not in page
    assert "<dt>Position</dt><dd>unknown</dd>" in page


def test_only_a_small_photo_is_enlarged(client: TestClient, library: LibraryPhotos) -> None:
    assert 'srcset="/api/photos/1/image 0.5x"' in client.get("/photos/1").text
    with library.database.write() as connection:
        connection.execute(update(contents).values(width=4000))
    assert "0.5x" not in client.get("/photos/1").text


def test_without_a_script_an_unknown_landmark_can_be_added(
    client: TestClient, library: LibraryPhotos
) -> None:
    answer = client.post("/photos/1/verdict", data={"landmark": "Frauenkirche"})
    assert (answer.status_code, 'name="new"' in answer.text) == (404, True)
    assert 'name="new"' not in client.get("/photos/1").text
    answer = client.post("/photos/1/verdict", data={"landmark": "Frauenkirche", "new": "1"})
    assert answer.status_code == 303
    assert "Frauenkirche" in client.get("/photos/1").text
    for name, reason in (("Eiffel Tower", "belongs to the landmark eiffel-tower"), ("-", "no letter")):
        answer = client.post("/photos/1/verdict", data={"landmark": name, "new": "1"})
        assert (answer.status_code, reason in answer.text) == (404, True)
        assert 'name="new"' not in answer.text


def test_neighbours_are_those_of_the_query(client: TestClient, library: LibraryPhotos) -> None:
    other = library.number("gate.jpg", (GATE, 0.9, True))
    page = client.get("/photos/2", params={"landmark": EIFFEL}).text
    assert f'rel="prev" href="/photos/1?landmark={EIFFEL}&amp;within=1"' in page
    assert f'rel="next" href="/photos/3?landmark={EIFFEL}&amp;within=1"' in page
    last = client.get("/photos/4", params={"landmark": EIFFEL}).text
    assert 'rel="next"' not in last
    assert f"/photos/{other}?" in client.get("/photos/4", params={"within": "1"}).text
    assert 'rel="prev"' not in client.get("/photos/2").text


def test_a_misspelt_landmark_stays_to_be_mended_and_the_way_too(
    client: TestClient, library: LibraryPhotos
) -> None:
    odd = client.post("/photos/1/verdict", data={"landmark": "<b>x</b>", "verdict": "confirmed"})
    assert (odd.status_code, "&lt;b&gt;x" in odd.text, "<b>x" in odd.text) == (404, True, False)
    assert client.get("/photos/999").status_code == 404
    answer = client.post(f"/photos/2/verdict?landmark={GATE}&within=1", data={"landmark": "Eifel Tower"})
    assert answer.status_code == 404
    assert "eiffel-tower" in answer.text
    assert 'value="Eifel Tower"' in answer.text
    assert f'action="/photos/2/verdict?landmark={GATE}&amp;within=1' in answer.text
    answer = client.post(f"/photos/2/verdict?landmark={EIFFEL}", data={"landmark": "Eifel Tower"})
    assert f'rel="next" href="/photos/3?landmark={EIFFEL}&amp;within=1"' in answer.text


def test_the_way_back_leads_to_the_grid_that_the_photo_was_opened_from(
    client: TestClient, library: LibraryPhotos
) -> None:
    library.file("nothing.jpg", (EIFFEL, 0.2, False), data=picture((9, 9, 9)))
    for there, begins in (
        (f"/landmarks/{EIFFEL}", f'<a href="/landmarks/{EIFFEL}">Eiffel Tower</a>'),
        ("/review/unknown", '<a href="/review/unknown">Unknown</a>'),
        ("/photos?min_score=0.5", '<a href="/photos?min_score=0.5">Photos with a landmark</a>'),
    ):
        tile = re.findall(r'class="photo-tile"[^>]*><a href="([^"]*)"', client.get(there).text)[0]
        assert begins in client.get(unescape(tile)).text
    for path in ("/photos/1", "/photos/1/similar"):
        assert '<a href="/photos?any_rank=1">All classified photos</a>' in client.get(path).text


def test_the_navigation_marks_the_current_page(client: TestClient, library: LibraryPhotos) -> None:
    for path, place in (
        ("/places", "places"),
        ("/photos?any_rank=1&sort=name", "photos"),
        ("/photos/1", "photos"),
        (f"/photos/1?landmark={EIFFEL}&sort=oldest&within=1", "places"),
        (f"/landmarks/{EIFFEL}", "places"),
        ("/search", "places"),
        ("/review/unknown", "review"),
    ):
        page = client.get(path).text
        nav = page[page.index('class="site-nav"') : page.index("</nav>", page.index('class="site-nav"'))]
        assert re.findall(r'href="/([a-z]*)(?:\?any_rank=1)?" aria-current="true"', nav) == [place], path


# ---------- in a browser ----------


def state(page: Page, word: str) -> None:
    expect(page.locator(STATE)).to_have_attribute("data-state", word)


def test_keys_give_verdicts_and_arrows_go_to_the_photos_beside(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/landmarks/{EIFFEL}", base=address) as page:
        page.goto(f"/photos/1?landmark={EIFFEL}")
        page.keyboard.press("r")
        state(page, "rejected")
        expect(page.locator("#announcement")).to_have_text("Eiffel Tower rejected")
        page.keyboard.press("c")
        state(page, "confirmed")
        page.keyboard.press("u")
        state(page, "rejected")
        page.keyboard.press("2")
        page.keyboard.press("c")
        expect(page.locator(f'[data-landmark="{GATE}"]')).to_have_attribute("data-state", "confirmed")
        expect(page.locator("#announcement")).to_have_text("Brandenburg Gate confirmed")  # the server has it
        assert verdicts(page, address, 1) == {EIFFEL: "rejected", GATE: "confirmed"}
        page.keyboard.press("ArrowRight")
        page.wait_for_url("**/photos/2?**")
        expect(page.locator("[data-photo]")).to_have_attribute("data-photo", "2")
        assert "photo-1.jpg" in page.title()
        page.get_by_role("link", name="Next").click()
        page.wait_for_url("**/photos/3?**")
        expect(page.get_by_role("link", name="Next")).to_be_focused()
        page.keyboard.press("ArrowLeft")
        page.wait_for_url("**/photos/2?**")
        page.go_back()
        expect(page.locator("[data-photo]")).to_have_attribute("data-photo", "3")
        page.go_back()
        page.go_back()
        expect(page.locator("[data-photo]")).to_have_attribute("data-photo", "1")
        page.keyboard.press("ArrowLeft")
        expect(page.locator("#announcement")).to_have_text("This is the first photo")
        page.go_back()
        expect(page.locator("[data-grid]")).to_be_visible()


@pytest.mark.slow
def test_a_photo_is_put_away_and_brought_back_by_key(browser: Browser, address: str) -> None:
    title = "#landmarks .photo-title"
    with open_page(browser, f"{address}/photos/1") as page:
        page.keyboard.press("x")
        expect(page.locator(title)).to_have_text("Not a landmark")
        expect(page.locator("[data-dismissed]")).to_contain_text("Put away by web ")
        expect(page.locator("#announcement")).to_have_text("Not a landmark: photo put away")
        assert axe_findings(page) == []
        page.keyboard.press("u")
        expect(page.locator(title)).to_have_text("Eiffel Tower")
        page.get_by_role("button", name="Not a landmark").click()
        expect(page.locator(title)).to_have_text("Not a landmark")
        page.get_by_role("button", name="Bring back").click()
        expect(page.locator(title)).to_have_text("Eiffel Tower")
        page.get_by_role("button", name="Reject Brandenburg Gate").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Confirm Brandenburg Gate")).to_be_focused()
        page.keyboard.press("c")
        state(page, "confirmed")
        expect(page.get_by_role("button", name="Not a landmark")).to_have_count(0)


@pytest.mark.slow
def test_a_key_opens_what_is_folded_away_and_it_stays_open(
    browser: Browser, address: str, library: LibraryPhotos
) -> None:
    output = ((EIFFEL, 0.9, True), (GATE, 0.004, False), (VERSAILLES, 0.002, False))
    number = library.file("sure.jpg", *output, data=picture((1, 2, 3)))
    with open_page(browser, f"{address}/photos/{number}") as page:
        row = page.locator(f'[data-landmark="{VERSAILLES}"]')
        expect(row).to_be_hidden()
        page.keyboard.press("3")
        expect(row).to_be_visible()
        page.keyboard.press("2")
        page.keyboard.press("r")
        expect(page.locator(f'.landmark-line[data-landmark="{GATE}"]')).to_have_attribute(
            "data-state", "rejected"
        )
        page.keyboard.press("3")
        page.keyboard.press("c")
        expect(page.get_by_role("heading", level=1)).to_have_text("Château de Versailles")
        assert verdicts(page, address, number) == {GATE: "rejected", VERSAILLES: "confirmed"}


@pytest.mark.slow
def test_on_a_phone_the_name_and_the_way_on_are_seen_without_scrolling(
    browser: Browser, address: str, library: LibraryPhotos
) -> None:
    tall = library.file("tall.jpg", (EIFFEL, 0.9, True), data=picture((9, 99, 9), (800, 1800)))
    with open_page(browser, f"{address}/photos/{tall}?landmark={EIFFEL}", screen=PHONE) as page:
        page.wait_for_function("() => document.querySelector('.photo-stage img').naturalHeight === 1800")
        nav = page.locator(".photo-neighbours").bounding_box()
        title = page.get_by_role("heading", level=1).bounding_box()
        assert nav is not None
        assert title is not None
        assert title["y"] + title["height"] < nav["y"]
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        expect(page.get_by_role("link", name="Previous")).to_be_in_viewport(ratio=1)
        page.get_by_role("link", name="Previous").tap()
        page.wait_for_url("**/photos/4?**")
        page.emulate_media(color_scheme="dark")
        page.keyboard.press("r")
        state(page, "rejected")
        assert axe_findings(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE.width


@pytest.mark.slow
def test_a_landmark_that_nobody_named_yet_is_added_and_confirmed(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/photos/1") as page:
        page.keyboard.press("n")
        field = page.get_by_label("Landmark, city or country")
        field.fill("Eiffel Tower")
        expect(page.locator("[data-results] [data-new]")).to_have_count(0)
        field.fill("Frauenkirche")
        expect(page.locator("[data-results]")).to_have_text(
            "No place has this name yet.Add “Frauenkirche” as a new place…"
        )
        page.keyboard.press("Enter")  # may be a misspelt name
        expect(page.locator("#naming")).to_be_visible()
        assert axe_findings(page) == []
        page.locator("#naming").get_by_label("Instead of").uncheck()
        field.focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        expect(page.get_by_label("Name of the new place")).to_have_value("Frauenkirche")
        expect(page.get_by_label("City or coordinates")).to_be_focused()
        page.keyboard.type("nowhere at all")
        page.keyboard.press("Enter")
        expect(page.locator("#naming [role=alert]")).to_contain_text("empty the field")
        page.get_by_label("City or coordinates").fill("dresden")
        expect(page.locator("[data-places] button")).to_have_text("Dresden, Saxony, Germany")
        assert axe_findings(page) == []
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        expect(page.locator("[data-places]")).to_have_text("Dresden, Saxony, Germany")
        page.keyboard.press("Enter")
        expect(page.locator("#announcement")).to_have_text("Frauenkirche confirmed")
        assert verdicts(page, address, 1) == {"frauenkirche": "confirmed"}
        page.keyboard.press("n")
        field.fill("frauenkirche")
        expect(page.locator("[data-results]")).to_have_text("Frauenkirche Dresden, Germany")
        page.keyboard.press("Escape")
        expect(page.locator("#naming")).to_be_hidden()


@pytest.mark.slow
def test_escape_closes_the_dialog_and_a_new_place_gets_its_coordinates(
    browser: Browser, address: str
) -> None:
    with open_page(browser, f"{address}/photos/1") as page:
        page.keyboard.press("n")
        page.get_by_label("Landmark, city or country").fill("Lighthouse")
        page.locator("[data-new]").click()
        page.get_by_label("City or coordinates").fill("Arl")
        page.keyboard.press("Escape")
        expect(page.locator("#naming")).to_be_hidden()
        assert verdicts(page, address, 1) == {}
        page.keyboard.press("n")
        page.get_by_label("Landmark, city or country").fill("Lighthouse")
        page.locator("[data-new]").click()
        page.get_by_label("City or coordinates").fill("43.6776, 4.6309")
        page.get_by_role("button", name="43.6776, 4.6309: Arles").click()
        page.get_by_role("button", name="Add this place").click()
        expect(page.locator("#announcement")).to_have_text("Lighthouse confirmed, Eiffel Tower rejected")
        found = page.request.get(f"{address}/api/landmarks").json()
        (added,) = (each for each in found if each["name"] == "Lighthouse")
        position = (added["latitude"], added["longitude"], added["city"], added["country"])
        assert position == (43.6776, 4.6309, "Arles", "France")


@pytest.mark.slow
def test_why_a_landmark_was_not_added_is_shown_in_the_dialog(browser: Browser, address: str) -> None:
    page = browser.new_page()  # the browser logs failed requests as errors
    page.goto(f"{address}/photos/1")
    page.keyboard.press("n")
    page.get_by_label("Landmark, city or country").fill("!!!")
    page.locator("[data-new]").click()
    page.get_by_role("button", name="Add this place").click()
    expect(page.locator("#naming [role=alert]")).to_contain_text("no letter")
    assert axe_findings(page) == []
    page.close()


@pytest.mark.slow
def test_naming_another_landmark_is_one_undo_step(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/photos/1") as page:
        press_at_once(page, "2", "r", "c", "n")
        expect(page.locator("#naming").get_by_label("Instead of Eiffel Tower")).to_be_checked()
        first = page.locator("[data-results] button").first
        expect(first).to_be_visible()  # the landmarks are loaded
        page.keyboard.press("Enter")  # nothing was typed
        page.keyboard.press("ArrowDown")
        expect(first).to_be_focused()
        page.keyboard.press("ArrowUp")
        page.get_by_label("Landmark, city or country").fill("versailles")
        page.keyboard.press("Enter")
        expect(page.locator("#announcement")).to_have_text(
            "Château de Versailles confirmed, Eiffel Tower rejected"
        )
        assert verdicts(page, address, 1) == {EIFFEL: "rejected", GATE: "confirmed", VERSAILLES: "confirmed"}
        for words, left in (
            (
                "Château de Versailles: verdict withdrawn, Eiffel Tower: verdict withdrawn",
                {GATE: "confirmed"},
            ),
            ("Brandenburg Gate rejected", {GATE: "rejected"}),
            ("Brandenburg Gate: verdict withdrawn", {}),
        ):
            page.keyboard.press("u")
            expect(page.locator("#announcement")).to_have_text(words)
            assert verdicts(page, address, 1) == left
        page.keyboard.press("u")
        expect(page.locator("#toasts")).to_have_text("Nothing to undo")
        page.keyboard.press("?")
        expect(page.get_by_role("heading", name="Keyboard shortcuts")).to_be_visible()
        assert axe_findings(page) == []


def press_at_once(page: Page, *keys: str, then: str = "") -> None:
    """Press the keys in one task of the browser, without time between them."""
    page.evaluate(
        f"""(keys) => {{
          for (const key of keys) document.body.dispatchEvent(new KeyboardEvent("keydown", {{ key, bubbles: true }}));
          {then}
        }}""",
        list(keys),
    )


def verdicts(page: Page, address: str, photo: int) -> dict[str, str]:
    document = page.request.get(f"{address}/api/photos/{photo}").json()
    return {each["landmark"]: each["verdict"] for each in document["verdicts"]}


@pytest.mark.slow
def test_fast_verdicts_apply_to_their_photos(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/photos/1?landmark={EIFFEL}") as page:
        press_at_once(page, "c", "ArrowRight", "r", "ArrowRight", "2", "r", "ArrowRight", "r", "c")
        page.wait_for_url("**/photos/4?**")
        expect(page.locator("#announcement")).to_have_text("Eiffel Tower confirmed")
        output = [verdicts(page, address, photo) for photo in range(1, 5)]
        assert output == [
            {EIFFEL: "confirmed"},
            {EIFFEL: "rejected"},
            {GATE: "rejected"},
            {EIFFEL: "confirmed"},
        ]
        state(page, "confirmed")
        # A click is for the photo that is seen, and a verdict given while leaving is not lost.
        click = f"""document.querySelector('{STATE} [data-verdict="rejected"] button').click()"""
        press_at_once(page, "ArrowLeft", then=click)
        page.wait_for_url("**/photos/3?**")
        expect(page.locator("#announcement")).to_have_text("Eiffel Tower rejected")
        assert verdicts(page, address, 4) == {EIFFEL: "rejected"}
        press_at_once(page, "r", "2", "c", then="location.reload()")
        page.wait_for_function("() => performance.getEntriesByType('navigation')[0].type === 'reload'")
        page.wait_for_function(
            """async () => (await (await fetch("/api/photos/3")).json()).verdicts.length === 2"""
        )
        assert verdicts(page, address, 3) == {EIFFEL: "rejected", GATE: "confirmed"}


def test_a_failed_verdict_is_reverted_and_what_was_queued_after_it_dropped(
    browser: Browser, address: str
) -> None:
    page = browser.new_page()  # the browser logs failed requests as errors
    page.goto(f"{address}/photos/1?landmark={EIFFEL}")
    page.route("**/verdicts", lambda route: route.abort())
    press_at_once(page, "c", "ArrowRight", "r")
    expect(page.locator(".toast").first).to_contain_text("Eiffel Tower was not changed")
    state(page, "accepted")
    page.unroute("**/verdicts")
    page.context.set_offline(True)
    page.keyboard.press("ArrowRight")
    expect(page.locator(".toast").last).to_contain_text("The photo could not be loaded")
    assert "/photos/1?" in page.url
    state(page, "accepted")
    page.context.set_offline(False)
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**/photos/2?**")
    assert verdicts(page, address, 1) == verdicts(page, address, 2) == {}
    page.close()
