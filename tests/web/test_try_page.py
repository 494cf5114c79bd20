"""Trying a photo: chosen, dropped and pasted photos, with and without JavaScript."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from starlette.testclient import TestClient
from support.artifacts import LABELS, colour_of, tiny_artifact
from support.browser import open_page, serving
from support.commands import draw
from support.library_photos import LibraryPhotos
from support.page_server import photo, settings_in

from tagger.database.connection import Database
from tagger.library.catalog.registered_models import RegisteredModel, resolve_models
from tagger.settings import Settings
from tagger.system.text_format import distance_text, percent, share, size
from tagger.web import state
from tagger.web.http.templates import environment
from tagger.web.pages.try_photo import UploadResult

HTMX_REQUEST = {"hx-request": "true"}

DRAG_DATA = """([colour, name]) => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 80, height: 60 });
  const pen = canvas.getContext("2d");
  pen.fillStyle = `rgb(${colour.join(" ")})`;
  pen.fillRect(0, 0, 80, 60);
  const bytes = Uint8Array.from(atob(canvas.toDataURL("image/png").split(",")[1]), (c) => c.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type: "image/png" }));
  return data;
}"""
PASTE = """(data) => document.dispatchEvent(
  new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }))"""


# ---------- rendered by the server ----------


def test_the_page_shows_the_landmarks_of_the_model(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert "4 known landmarks" in page.text
    assert "Château de Versailles, Eiffel Tower" in page.text  # a country's, by name
    camera = re.search(r"<input[^>]*capture[^>]*>", page.text)  # it is no field of the form
    assert camera is not None
    assert not re.search("name=|required", camera[0])


def test_one_landmark_is_one(client: TestClient, web_settings: Settings) -> None:
    tiny_artifact(Path(str(web_settings.model)), labels=LABELS[:1])
    assert re.search(r'id="model-summary">1 known landmark<', client.get("/").text)


def test_requests_share_what_was_read_of_the_models(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str | None] = []

    def counted(database: Database, selector: str | None) -> Sequence[RegisteredModel]:
        reads.append(selector)
        return resolve_models(database, selector)

    monkeypatch.setattr(state, "resolve_models", counted)
    monkeypatch.setattr(state, "MODEL_TTL_S", 600.0)
    for _ in range(2):
        assert "4 known landmarks" in client.get("/try").text
    assert len(reads) == 1


def test_the_photos_are_the_first_view_once_there_are_photos(
    client: TestClient, web_database: Database, web_settings: Settings, tmp_path: Path
) -> None:
    assert client.get("/").status_code == 200
    LibraryPhotos(web_database, web_settings, tmp_path / "photos").file("a.jpg")
    assert client.get("/").headers["location"] == "/photos?any_rank=1"
    assert "Which landmark is this?" in client.get("/try").text


def test_a_form_without_script_gets_the_whole_page_and_nothing_is_stored(
    client: TestClient, web_settings: Settings
) -> None:
    page = client.post("/", files={"photo": ("tower.png", photo())})
    assert page.status_code == 200
    assert "<!doctype html>" in page.text
    for text in ("tower.png", "Eiffel Tower", "Paris, France", "No landmark"):
        assert text in page.text
    odd = client.post("/", files={"photo": ("<img src=x onerror=alert(1)>.png", photo())}).text
    assert "&lt;img src=x" in odd
    assert "<img src=x" not in odd
    assert not any(path.suffix == ".png" for path in Path(web_settings.data_folder).rglob("*"))
    assert "tower.png" not in client.get("/").text


def test_a_script_gets_the_result_alone(client: TestClient) -> None:
    fragment = client.post("/", files={"photo": ("tower.png", photo())}, headers=HTMX_REQUEST)
    assert fragment.text.lstrip().startswith('<div class="result-body" data-result')
    assert 'data-announcement="tower.png: Eiffel Tower, ' in fragment.text
    assert fragment.text.count("Recognised: ") == 1
    fragment = client.post("/", files={"photo": ("field.png", photo(None))}, headers=HTMX_REQUEST)
    assert '<h2 class="result-name">No landmark</h2>' in fragment.text
    assert ": No landmark, " in fragment.text


def test_a_photo_of_which_a_part_is_missing_is_neither_named_nor_without_a_landmark(
    client: TestClient, tmp_path: Path
) -> None:
    whole = draw(tmp_path / "cut.jpg", 0, size=(1200, 900)).read_bytes()
    cut = whole[: len(whole) // 2]
    assert client.post("/api/predict", files={"file": ("cut.jpg", cut)}).json()["damaged"]
    fragment = client.post("/", files={"photo": ("cut.jpg", cut)}, headers=HTMX_REQUEST).text
    assert 'data-announcement="cut.jpg: A part of the image is missing"' in fragment
    assert "So no landmark is named" in fragment
    assert not any(words in fragment for words in ("below the threshold", "shows no landmark", "row--sure"))


@pytest.mark.parametrize(("data", "words"), [(b"", "0 bytes"), (b"no photo", "not an image")])
def test_the_reason_is_shown_for_a_file_that_is_no_photo(client: TestClient, data: bytes, words: str) -> None:
    fragment = client.post("/", files={"photo": ("odd.png", data)}, headers=HTMX_REQUEST)
    assert fragment.status_code == 422
    assert "This photo could not be processed" in fragment.text
    assert words in fragment.text


# ---------- scores and numbers ----------


def result_of(*scores: float, threshold: float = 0.5) -> UploadResult:
    def prediction(number: int, score: float) -> Any:
        landmark = SimpleNamespace(display_name=f"Landmark {number}", city=None, country=None)
        of = SimpleNamespace(threshold=threshold, model=SimpleNamespace(name="tiny"))
        return SimpleNamespace(landmark=landmark, score=score, accepted=score >= threshold, of=of)

    predictions = [prediction(number, score) for number, score in enumerate(scores, start=1)]
    return UploadResult("a.jpg", predictions, 1.0 - sum(scores))


def test_a_landmark_below_the_threshold_is_a_guess_and_not_named() -> None:
    unsure = result_of(0.45, 0.2)
    assert (unsure.accepted, unsure.guess) == (None, unsure.predictions[0])
    words = environment().get_template("try_result.html").render(result=unsure)
    assert 'data-announcement="a.jpg: Perhaps Landmark 1, 45%"' in words
    assert result_of(0.3).guess is None
    assert result_of().guess is None
    sure = result_of(0.9)
    assert (sure.accepted, sure.guess) == (sure.predictions[0], None)


def test_figures_are_short() -> None:
    words = {0.0: "0%", 0.0099: "<1%", 0.834: "83%", 0.994: ">99%", 1.0: "100%"}
    assert {part: percent(part) for part in words} == words
    distances = {994.4: "994 m", 1000: "1 km", 1120: "1.1 km", 9960: "10 km", 10_548_000: "10,548 km"}
    assert {metres: distance_text(metres) for metres in distances} == distances
    assert [share(-0.1), share(0.8321), share(1.2)] == ["0%", "83.21%", "100%"]
    assert [each.replace("\u202f", " ") for each in (size(64 * 2**20), size(2**31 - 1), size(12))] == [
        "64 MB",
        "1 GB",
        "12 bytes",
    ]


# ---------- in a browser ----------


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for all tests: trying a photo stores nothing."""
    with serving(settings_in(tmp_path_factory.mktemp("served"))) as url:
        yield url


def choose(page: Page, *photos: tuple[str, bytes]) -> None:
    files = [{"name": name, "mimeType": "image/png", "buffer": data} for name, data in photos]
    page.get_by_label("Choose photos").set_input_files(files)
    expect(page.locator(".result[aria-busy]")).to_have_count(0, timeout=60_000)


def test_photos_are_classified_that_are_chosen_dropped_anywhere_or_pasted(
    browser: Browser, address: str
) -> None:
    with open_page(browser, address) as page:
        choose(page, ("tower.png", photo()), ("field.png", photo(None)))
        expect(page.locator(".result h2")).to_have_text(["Eiffel Tower", "No landmark"])
        expect(page.locator("#announcement")).to_contain_text("field.png: No landmark")
        choose(page, ("later.png", photo()))
        expect(page.locator(".result [data-name]")).to_have_text(["later.png", "tower.png", "field.png"])
        for name in ("dropped.png", "pasted.png"):
            data = page.evaluate_handle(DRAG_DATA, [list(colour_of(0)), name])
            if name == "dropped.png":
                page.dispatch_event("h1", "drop", {"dataTransfer": data})
            else:
                page.evaluate(PASTE, data)
            expect(page.locator("#announcement")).to_contain_text(f"{name}: Eiffel Tower", timeout=60_000)


@pytest.mark.slow
def test_failures_are_shown_beside_the_others(browser: Browser, address: str) -> None:
    # The browser logs a response with status 422 as an error, so its errors are not checked here.
    page = browser.new_page()
    page.goto(address)
    choose(page, ("odd.png", b"no photo"), ("huge.png", b"0" * (2 * 2**20 + 1)), ("tower.png", photo()))
    results = page.locator(".result")
    expect(results.nth(0)).to_contain_text("This photo could not be processed")
    expect(results.nth(1)).to_contain_text("the limit is 2 MB")  # it is not even sent
    expect(results.nth(2)).to_contain_text("Eiffel Tower")
    page.context.set_offline(True)
    choose(page, ("later.png", photo()))
    expect(results.nth(0)).to_contain_text("The server does not respond")
    page.close()


@pytest.mark.slow
def test_the_switch_between_light_and_dark_is_remembered(browser: Browser, address: str) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    with open_page(browser, address) as page:
        light = page.evaluate(ground)
        switch = page.get_by_role("button", name="Dark mode")
        page.get_by_role("button", name="Settings").click()
        switch.click()
        dark = page.evaluate(ground)
        assert dark != light
        page.reload()
        assert page.evaluate(ground) == dark
        page.get_by_role("button", name="Settings").click()
        expect(switch).to_have_attribute("aria-pressed", "true")
        switch.click()
        assert page.evaluate(ground) == light
