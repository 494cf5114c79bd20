"""The first view, and trying a photo."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect
from starlette.testclient import TestClient
from support.browser import open_page, serving
from support.commands import draw
from support.library_photos import LibraryPhotos
from support.page_server import photo, settings_in

from tagger.texts.text_format import distance_text, percent, share, size
from tagger.web.pages.photo import UploadResult
from tagger.web.templating import environment


def test_the_first_view_asks_for_photos_until_there_are_some(client, web_database, web_settings, tmp_path):
    assert client.get("/").headers["location"] == "/jobs/new"
    assert "<h1>Where are your photos?</h1>" in client.get("/jobs/new").text
    LibraryPhotos(web_database, web_settings, tmp_path / "photos").file("a.jpg")
    assert client.get("/").status_code == 200
    assert "<h1>Add photos</h1>" in client.get("/jobs/new").text
    assert 'href="/try"' in client.get("/places").text


def tried(client: TestClient, data: bytes) -> str:
    answer = client.post("/try", files={"photo": ("photo", data)})
    assert answer.status_code == 200
    return answer.text


def test_a_photo_gets_its_landmarks_and_is_not_stored(client, web_settings):
    result = tried(client, photo())
    for text in ("<h2>Eiffel Tower</h2>", "Paris, France", "No landmark", "score-row--sure"):
        assert result.count(text) == 1, text
    assert "<html" not in result
    assert not any(path.suffix == ".png" for path in Path(web_settings.data_folder).rglob("*"))
    assert "<h2>No landmark</h2>" in tried(client, photo(None))


def test_a_photo_of_which_a_part_is_missing_is_neither_named_nor_without_a_landmark(client, tmp_path):
    whole = draw(tmp_path / "cut.jpg", 0, size=(1200, 900)).read_bytes()
    cut = whole[: len(whole) // 2]
    assert client.post("/api/predict", files={"file": ("cut.jpg", cut)}).json()["damaged"]
    result = tried(client, cut)
    assert "<h2>A part of the image is missing</h2>" in result
    assert "So no landmark is named" in result
    assert not any(words in result for words in ("below the threshold", "shows no landmark", "row--sure"))


@pytest.mark.parametrize(("data", "words"), [(b"", "0 bytes"), (b"no photo", "not an image")])
def test_the_reason_is_shown_for_a_file_that_is_no_photo(client, data, words):
    result = tried(client, data)
    assert "This photo could not be processed" in result
    assert words in result


def result_of(*scores: float, threshold: float = 0.5) -> UploadResult:
    def prediction(number: int, score: float) -> Any:
        landmark = SimpleNamespace(display_name=f"Landmark {number}", city=None, country=None)
        of = SimpleNamespace(threshold=threshold, model=SimpleNamespace(name="tiny"))
        return SimpleNamespace(landmark=landmark, score=score, accepted=score >= threshold, of=of)

    predictions = [prediction(number, score) for number, score in enumerate(scores, start=1)]
    return UploadResult(predictions, 1.0 - sum(scores))


def test_a_landmark_below_the_threshold_is_a_guess_and_not_named():
    unsure = result_of(0.45, 0.2)
    assert (unsure.accepted, unsure.guess) == (None, unsure.predictions[0])
    words = environment().get_template("try_result.html").render(result=unsure)
    assert "<h2>Perhaps Landmark 1</h2>" in words
    assert "below the threshold of 50%" in words
    assert result_of(0.3).guess is None
    assert result_of().guess is None
    sure = result_of(0.9)
    assert (sure.accepted, sure.guess) == (sure.predictions[0], None)


def test_figures_are_short():
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


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    """One server for all tests: trying a photo stores nothing."""
    with serving(settings_in(tmp_path_factory.mktemp("served"))) as url:
        yield url


def choose(page: Page, data: bytes) -> None:
    file = {"name": "photo.png", "mimeType": "image/png", "buffer": data}
    page.get_by_label("Choose a photo").set_input_files([file])


def test_a_photo_that_is_chosen_while_the_page_loads_is_shown_beside_its_landmarks(browser, address):
    held: list[Route] = []
    with open_page(browser, f"{address}/photos") as page:
        page.route("**/try.js*", lambda route: held.append(route))  # noqa: PLW0108 - playwright takes no built-in
        page.get_by_role("button", name="Settings").click()
        page.get_by_role("link", name="Try a photo").click()
        expect(page.locator("[data-preview]")).to_be_hidden()
        choose(page, photo())
        (script,) = held
        script.continue_()
        expect(page.locator("#result h2")).to_have_text("Eiffel Tower")
        expect(page.locator("[data-preview]")).to_be_visible()
        choose(page, b"no photo")
        expect(page.locator("#result")).to_contain_text("This photo could not be processed")
        expect(page.locator("[data-preview]")).to_be_hidden()


@pytest.mark.slow
def test_what_the_server_refuses_is_said(browser, address):
    page = browser.new_page()  # the browser logs failed requests as errors
    page.goto(f"{address}/try")
    choose(page, b"0" * (2 * 2**20 + 1))
    expect(page.locator("#toasts")).to_contain_text("Make it smaller")
    page.context.set_offline(True)
    choose(page, photo())
    expect(page.locator("#toasts")).to_contain_text("The server does not respond")
    page.close()


@pytest.mark.slow
def test_the_switch_between_light_and_dark_is_remembered(browser, address):
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
