"""The page of a photo: its facts, its state, its landmarks, and verdicts on them."""

import re
import shutil
from datetime import datetime

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import insert, select
from starlette.testclient import TestClient
from support.artifacts import tiny_artifact
from support.browser import open_page, verdicts_of
from support.databases import read_scalar
from support.library_photos import EIFFEL, GATE, VERSAILLES, LibraryPhotos, picture
from support.threads import wait_until
from support.written_folder import WrittenFolder

from tagger.database import Runner
from tagger.database.tables import image_things, photos
from tagger.model.artifact import Label
from tagger.registry import add_model, use_models

pytestmark = pytest.mark.usefixtures("shared_thumbnails")

STATUS = "#lightbox [data-status]"


@pytest.fixture
def library(library) -> LibraryPhotos:
    for n in range(4):
        data = picture((60 * n, 120, 200 - 40 * n), (300, 200))
        library.file(f"photo-{n}.jpg", (EIFFEL, 0.8, True), (GATE, 0.1, False), data=data)
    return library


def give(client: TestClient, photo: int, landmark: str, verdict: str = "confirmed") -> None:
    body = {"photos": [photo], "landmark": landmark, "verdict": verdict}
    assert client.post("/api/verdicts", json=body).status_code == 200


def test_the_page_shows_known_facts_and_taught_and_suggested_landmarks(client, library):
    answer = client.get("/photos/1")
    assert answer.status_code == 200
    page = answer.text.replace("<wbr>", "")
    for words in ("Eiffel Tower", "photo-0.jpg", str(library.root), 'href="/api/photos/1/file"'):
        assert words in page
    assert ">recognised<" not in page  # its score says so
    assert page.count("<li id=") == 1  # what is only predicted has no line
    number = library.file("church.jpg", (EIFFEL, 0.1, False), data=picture((1, 2, 3)))
    library.taught(number, GATE, 0.9)
    library.taught(number, VERSAILLES, 0.4)
    page = client.get(f"/photos/{number}").text
    states = re.findall(r'data-landmark="([^"]*)".*?data-state-text>([^<]*)<', page, re.DOTALL)
    assert states == [(GATE, "taught"), (VERSAILLES, "suggested")]


def test_a_position_has_its_error_its_place_and_what_it_follows_from(client, library):
    def facts(number: int) -> str:
        page = client.get(f"/photos/{number}").text
        return " ".join(re.findall(r'id="when".*?<dt>Model', page, re.DOTALL)[0].split())

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
    assert 'href="/photos?near=48.795%2C2.2567&amp;radius_km=1">France</a>' in facts(3)
    assert "What it followed from is gone" in facts(4)
    assert "Photos near here" in facts(4)
    found = client.get("/api/photos?near=48.7950,2.2567&radius_km=1").json()["photos"]
    assert [photo["id"] for photo in found] == [3, 4]
    evidence_document = client.get("/api/photos/3").json()["evidence"]
    assert evidence_document["before"]["id"] == 1
    give(client, 2, EIFFEL, "rejected")
    assert "<dt>Position</dt><dd>unknown</dd>" in facts(2)


def test_what_is_only_predicted_is_not_listed(client, library):
    output = ((EIFFEL, 0.9, True), (GATE, 0.004, False), (VERSAILLES, 0.002, False))
    number = library.file("sure.jpg", *output, data=picture((1, 2, 3)))
    listed = re.compile(r'data-landmark="([^"]*)"')
    page = client.get(f"/photos/{number}/details").text
    assert listed.findall(page) == [EIFFEL]
    assert page.count("Add a place") == 1
    assert page.index("<dt>Taken</dt>") < page.index("<dt>Size</dt>") < page.index("<dt>Folder</dt>")
    give(client, number, VERSAILLES)
    assert listed.findall(client.get(f"/photos/{number}").text) == [EIFFEL, VERSAILLES]


def test_a_photo_without_a_landmark_is_called_by_where_and_when_it_was_taken(client, library):
    taken_at = datetime(2024, 6, 9, 12, 30)  # noqa: DTZ001 - cameras know no time zone
    number = library.file("open.jpg", (EIFFEL, 0.5, False), data=picture((1, 9, 99)), taken_at=taken_at)

    def title() -> str:
        return client.get(f"/photos/{number}/details").text.partition('"photo-title">')[2].partition("<")[0]

    assert title() == "9 June 2024"
    library.position("open.jpg", 48.8606, 2.3376, "France", "camera", city="Paris")
    assert title() == "Paris, 9 June 2024"


def test_an_address_of_a_photo_shows_it_over_its_grid(client, library):
    """A script starts there; without one, the page has the photo and its details, and no buttons."""
    unknown = library.file("nothing.jpg", (EIFFEL, 0.2, False), data=picture((9, 9, 9)))
    for path, number, source in (
        (f"/photos/2?landmark={EIFFEL}&within=1", 2, f"/api/photos?landmark={EIFFEL}"),
        (f"/photos/{unknown}?unknown=1&within=1", unknown, "/api/photos?unknown=1"),
        ("/photos/2?within=1", 2, "/api/photos"),
        ("/photos/2", 2, "/api/photos?any_rank=1"),
        ("/photos/2?landmark=forgotten&within=1", 2, "/api/photos?any_rank=1"),
    ):
        page = client.get(path).text
        assert re.findall(r'data-source="([^"]*)" data-options="[^"]*" data-opened', page) == [source], path
        assert re.findall(r'class="photo-tile" data-photo="(\d+)"', page) == [str(number)], path
        alone = page[page.index("<noscript>") : page.index("</noscript>")]
        assert f'src="/api/photos/{number}/preview"' in alone
        assert "<dt>File</dt>" in alone
        assert "<button" not in alone
    details = client.get("/photos/2/details").text
    assert "<html" not in details
    assert re.findall(r'data-verdict="(\w+)"', details) == ["confirmed", "rejected"]
    for path in ("/photos/999", "/photos/999/details"):
        assert client.get(path).status_code == 404


def state(page: Page, word: str) -> None:
    expect(page.locator(f'#landmarks [data-landmark="{EIFFEL}"]')).to_have_attribute("data-state", word)


def open_details(page: Page, path: str) -> None:
    page.goto(path)
    page.locator("#lightbox[open]").wait_for()
    page.keyboard.press("i")
    page.locator("#landmarks").wait_for()


def test_an_address_opens_the_photo_over_its_grid_and_escape_leads_there(browser, address):
    with open_page(browser, f"{address}/places", base=address) as page:
        open_details(page, f"/photos/2?landmark={EIFFEL}&within=1")
        page.keyboard.press("r")
        state(page, "rejected")
        page.keyboard.press("c")
        state(page, "confirmed")
        page.keyboard.press("u")
        state(page, "rejected")
        page.get_by_role("button", name="Confirm Eiffel Tower").click()
        state(page, "confirmed")
        expect(page.locator(STATUS)).to_have_text("Eiffel Tower confirmed")  # the server has it
        assert verdicts_of(page, address, 2) == {EIFFEL: "confirmed"}
        page.keyboard.press("ArrowRight")
        page.wait_for_url("**/photos/3?**")
        expect(page.locator("#lightbox [data-number]")).to_have_text("3 of 4")
        page.keyboard.press("Escape")
        page.wait_for_url(f"{address}/photos?landmark={EIFFEL}")
        expect(page.locator('[data-grid] [data-photo="3"] a')).to_be_focused()
        page.keyboard.press("Enter")  # as in every grid, with an entry of its own
        page.reload()
        expect(page.locator("#lightbox-title")).to_have_text("Eiffel Tower")
        page.keyboard.press("Escape")
        page.wait_for_url(f"{address}/photos?landmark={EIFFEL}")
        expect(page.locator("#lightbox")).to_be_hidden()
        page.go_back()
        page.wait_for_url(f"{address}/places")


def press_at_once(page: Page, *keys: str, then: str = "") -> None:
    """Press the keys in one task of the browser, without time between them."""
    page.evaluate(
        f"""(keys) => {{
          for (const key of keys) document.body.dispatchEvent(new KeyboardEvent("keydown", {{ key, bubbles: true }}));
          {then}
        }}""",
        list(keys),
    )


@pytest.mark.slow
def test_a_verdict_given_while_leaving_is_not_lost(browser, address):
    with open_page(browser, "about:blank", base=address) as page:
        open_details(page, "/photos/3")
        press_at_once(page, "r", "c", then="location.reload()")
        page.wait_for_function("() => performance.getEntriesByType('navigation')[0].type === 'reload'")
        wait_until(lambda: verdicts_of(page, address, 3) == {EIFFEL: "confirmed"})


def test_a_failed_verdict_is_reverted_and_what_was_queued_after_it_dropped(browser, address):
    page = browser.new_page(base_url=address)  # the browser logs failed requests as errors
    open_details(page, "/photos/1")
    page.route("**/verdicts", lambda route: route.abort())
    press_at_once(page, "c", "r")
    expect(page.locator(".toast").first).to_contain_text("Eiffel Tower was not changed")
    state(page, "accepted")
    page.unroute("**/verdicts")
    assert verdicts_of(page, address, 1) == {}
    page.close()


def test_naming_offers_what_is_near_the_photo_first(client, library):
    places = {"Far church": (41.9, 12.5), "Near bridge": (48.90, 2.35), "Nearest door": (48.861, 2.351)}
    for name, (latitude, longitude) in places.items():
        new = {"name": name, "latitude": latitude, "longitude": longitude}
        assert client.post("/api/landmarks", json=new).status_code == 201
    photo = library.number("here.jpg")
    library.position("here.jpg", 48.86, 2.35, country="France", city="Paris")
    found = client.get(f"/photos/{photo}/landmarks").json()
    own = [slug for slug in found["near"] if slug in {"far-church", "near-bridge", "nearest-door"}]
    assert own == ["nearest-door", "near-bridge"]
    assert found["trip"] == []
    elsewhere = library.number("nowhere.jpg")
    assert client.get(f"/photos/{elsewhere}/landmarks").json() == {"near": [], "trip": []}


@pytest.mark.parametrize(
    "predicted",
    [(EIFFEL, 0.1, False), pytest.param((EIFFEL, 0.9, True), marks=pytest.mark.slow)],
    ids=["thing", "landmark"],
)
def test_landmarks_and_things_are_separate_questions(
    browser, client, library, address, tmp_path,
    predicted,
):  # fmt: skip
    """Of a dog, keys are about the dog, not the animal; where a landmark counts, about that; a name takes no thing along."""
    labels = (
        Label(label="animal", slug="animal", name="Animal"),
        Label(label="dog", slug="dog", name="Dog", parent="animal"),
    )
    tiny_artifact(tmp_path / "things.pt", labels, name="things", kind="things")
    model = add_model(library.database, tmp_path / "things.pt")
    number = library.file("dog.jpg", predicted, data=picture((0, 0, 200)))
    with library.database.write() as connection:
        content = connection.scalar(select(photos.c.content_id).where(photos.c.id == number))
        rows = [
            {"content_id": content, "model_id": model.id, "score": 0.9, "thing": name}
            for name in ("animal", "dog")
        ]
        connection.execute(insert(image_things), rows)
    shown = "thing:dog" if not predicted[2] else EIFFEL
    use_models(library.database, [library.model.name, "things"])
    with open_page(browser, "about:blank", base=address) as page:
        open_details(page, f"/photos/{number}")
        page.keyboard.press("r")
        expect(page.locator(f'#landmarks [data-landmark="{shown}"]')).to_have_attribute(
            "data-state", "rejected"
        )
        page.keyboard.press("c")
        expect(page.locator(f'#landmarks [data-landmark="{shown}"]')).to_have_attribute(
            "data-state", "confirmed"
        )
        page.keyboard.press("n")
        page.get_by_label("Landmark, city or country").fill("Brandenburg Gate")
        first = page.locator("#naming [data-results] button").first
        expect(first).to_contain_text("Brandenburg Gate")
        first.click()
        expect(page.locator(STATUS)).to_contain_text("Brandenburg Gate confirmed")
        things = page.request.get(f"{address}/api/photos/{number}").json()["things"]
        assert {each["thing"]: each["verdict"] for each in things} == {
            "animal": None,
            "dog": "confirmed" if shown == "thing:dog" else None,
        }


@pytest.fixture
def folder(web_database, tmp_path) -> WrittenFolder:
    (tmp_path / "work").mkdir()
    return WrittenFolder(web_database, tmp_path / "work")


def page_of(client: TestClient, folder: WrittenFolder, name: str) -> str:
    number = read_scalar(folder.database, select(photos.c.id).where(photos.c.path == name))
    answer = client.get(f"/photos/{number}/details")
    assert answer.status_code == 200
    return answer.text


def test_a_job_that_has_still_to_look_at_it_is_named(client, folder):
    folder.draw("a.jpg")
    job = folder.record(runner=Runner.WORKERS)
    page = page_of(client, folder, "a.jpg")
    assert "Not processed yet" in page
    assert f'A <a href="/jobs/{job}">job</a> will process it' in page
    assert "data-name-another" not in page  # it is not processed yet
    folder.work(job)
    page = page_of(client, folder, "a.jpg")
    assert "will process it" not in page
    assert f'<a href="/jobs/{job}">Job {job}</a>: tagged' in page
    again = folder.record_to_write(None, runner=Runner.WORKERS, reprocess=True)
    page = page_of(client, folder, "a.jpg")
    assert f'<dt>Waiting</dt><dd><a href="/jobs/{again}">' in page  # it is classified: this is only a fact
    assert "notice--open" not in page


def test_a_failed_photo_shows_the_reason(client, folder):
    whole = folder.draw("a.jpg").read_bytes()
    (folder.folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    folder.tag()
    page = page_of(client, folder, "cut.jpg")
    assert "Could not be processed" in page
    assert "data-name-another" not in page
    assert "data-name-another" in page_of(client, folder, "a.jpg")
    assert "The file ends before the image does." in page
    assert "Could not be processed" not in page_of(client, folder, "a.jpg")


def test_a_missing_file_is_reported_and_a_photo_on_an_unavailable_disk_accepts_verdicts(client, library):
    missing = library.file("missing.jpg", (EIFFEL, 0.9, True))
    (library.root / "missing.jpg").unlink()
    assert "The file no longer exists" in client.get(f"/photos/{missing}/details").text
    library.gone("missing.jpg")
    assert "<dt>Gone</dt><dd>since 1 March 2026<" in client.get(f"/photos/{missing}/details").text
    number = library.file("a.jpg", (EIFFEL, 0.9, True))
    assert "is not available" not in client.get(f"/photos/{number}/details").text
    shutil.move(library.root, library.root.with_name("elsewhere"))
    page = client.get(f"/photos/{number}/details").text
    assert f"The folder {library.root} is not available. Mount the disk" in page
    assert "Confirm" in page
