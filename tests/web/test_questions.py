"""Questions as people type them, and their answers, by `tagger query` and by the page's search."""
# ruff: noqa: DTZ001 - cameras know no time zone

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from html import unescape
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from starlette.testclient import TestClient
from support.command_line import run_command
from support.library_photos import EIFFEL, GATE, LibraryPhotos
from support.page_server import client_at, settings_in

from tagger.cli.main import main
from tagger.database.connection import open_database
from tagger.settings import Settings
from tagger.web import cached_value
from tagger.web.app import create_app
from tagger.web.http.access import AccessPolicy
from tagger.web.pages import overview

LAST_YEAR = datetime.now().astimezone().year - 1
PARIS, ROME = (48.86, 2.35), (41.89, 12.49)
EIFFEL_2016, EIFFEL_2019 = ["2016/tower.jpg"], ["2019/tower.jpg"]
ROMAN = [f"holidays/rome-{number}.jpg" for number in range(6)]
OF_PARIS = ["2016/tower.jpg", "2019/street.jpg", "2019/tower.jpg"]

QUESTIONS = [
    ("photos of the eifel tower", ["Eiffel Tower"], [*EIFFEL_2016, *EIFFEL_2019]),
    ("Fotos aus Frankreich im Juli 2016", ["France", "July 2016"], EIFFEL_2016),
    ("Rom", ["Rome"], ROMAN),
    ("trip to rome", ["trip Rome, 2\N{EN DASH}4 April 2021"], ROMAN),
    ("rome-3", ["in rome-3.jpg"], ["holidays/rome-3.jpg"]),
    ("rejected 2021", ["rejected", "2021"], ["holidays/rome-0.jpg"]),
    ("trip to rome or 2018", ["trip Rome, 2\N{EN DASH}4 April 2021 or 2018"], [*ROMAN, "house.jpg"]),
    ("2019 or 2018 without paris", ["2019", "2018", "not Paris"], ["house.jpg"]),
]  # fmt: skip
"""Questions with the filters that they become, and the photos that are found."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LibraryPhotos, Settings]]:
    folder = tmp_path_factory.mktemp("questions")
    settings = settings_in(folder)
    with closing(open_database(settings.effective_database_url)) as database:
        library = LibraryPhotos(database, settings, folder / "photos")
        canon, phone = library.camera("Canon", "Canon EOS 5D"), library.camera("Apple", "iPhone 12")
        library.photo(
            "2016/tower.jpg", (EIFFEL, 0.9, True), taken_at=datetime(2016, 7, 1, 9), camera_id=canon
        )
        library.photo(
            "2019/tower.jpg", (EIFFEL, 0.9, True), taken_at=datetime(2019, 8, 2, 9), camera_id=phone
        )
        library.photo("2019/street.jpg", (GATE, 0.2, False), taken_at=datetime(2019, 5, 3, 9))
        library.photo("gate.jpg", (GATE, 0.9, True), taken_at=datetime(LAST_YEAR, 3, 4, 9))
        library.photo("Old prints/scan 1.jpg")
        library.photo("house.jpg", taken_at=datetime(2018, 1, 7, 9))
        library.landmark("grandmas-house", "Grandma's House")
        library.verdict("digest of house.jpg", "grandmas-house", "confirmed")
        for number, path in enumerate(ROMAN):
            taken_at = datetime(2021, 4, 2, 9) + timedelta(hours=9 * number)
            library.photo(path, taken_at=taken_at, camera_id=phone)
            library.position(path, *ROME, country="Italy", region="Lazio", city="Rome")
        library.verdict("digest of holidays/rome-0.jpg", GATE, "rejected")
        for path in OF_PARIS:
            library.position(path, *PARIS, country="France", region="Île-de-France", city="Paris")
        yield library, settings


@pytest.fixture(scope="module")
def client(photos: tuple[LibraryPhotos, Settings]) -> Iterator[TestClient]:
    library, settings = photos
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overview, "WAIT_S", 60.0)  # the lists of names are made before the first answer
        patch.setattr(cached_value, "FIRST_WAIT_S", 60.0)
        policy = AccessPolicy("127.0.0.1", 8080)
        with client_at(create_app(settings, library.database, policy)) as opened:
            yield opened


@pytest.mark.parametrize(("question", "filters", "paths"), QUESTIONS, ids=[each[0] for each in QUESTIONS])
def test_a_question_finds_its_photos_by_command_and_on_the_page(
    photos: tuple[LibraryPhotos, Settings],
    client: TestClient,
    question: str,
    filters: list[str],
    paths: list[str],
) -> None:
    library, settings = photos
    environment = {
        "TAGGER_DATABASE_URL": settings.effective_database_url,
        "TAGGER_DATA_FOLDER": str(settings.data_folder),
    }
    output = run_command(main, "query", *question.split(), "--format", "paths", environment=environment)
    assert (output.code, relative(library, output.text.splitlines())) == (0, paths)
    if ", ".join(filters).casefold() != question.casefold():
        assert output.err.startswith(f"searching for: {', '.join(filters)}\n")

    found = client.get("/search", params={"q": question})
    assert found.status_code == 303
    page = client.get(found.headers["location"]).text
    chips = map(unescape, re.findall(r"Remove filter ([^<]*)<", page))
    assert (sorted(chips), "Left out" in page) == (sorted(filters), False)
    options = [
        (name, value) for name, value in parse_qsl(urlsplit(found.headers["location"]).query) if name != "q"
    ]
    answer = client.get("/api/photos", params=[*options, ("limit", 100)]).json()
    assert relative(library, [photo["path"] for photo in answer["photos"]]) == paths


def relative(library: LibraryPhotos, paths: list[str]) -> list[str]:
    return sorted(Path(path).relative_to(library.root).as_posix() for path in paths)


def test_what_is_not_understood_is_said(photos: tuple[LibraryPhotos, Settings], client: TestClient) -> None:
    page = page_of(client, "dogs in paris")
    assert "Left out: “dogs”, which is no date and no name in this library." in page
    assert 'value="dogs in paris"' in page
    assert "“not paris”, since a search cannot join this and the rest" in page_of(client, "2018 or not paris")
    nothing = client.get("/search", params={"q": "xqzwv"})
    assert (nothing.status_code, "No results for “xqzwv”" in nothing.text) == (200, True)
    assert "no date and no name" in nothing.text


def test_a_guess_is_said_and_undone(photos: tuple[LibraryPhotos, Settings], client: TestClient) -> None:
    guessed = page_of(client, "eifel tower 2019")
    assert "<mark>“eifel tower” was read as Eiffel Tower.</mark>" in guessed
    (undo,) = re.findall(r'href="(/search\?[^"]*)">Search for exactly these words', guessed)
    exact = unescape(client.get(client.get(undo).headers["location"]).text)
    assert "<mark>" not in exact
    # A tower is a kind of landmark.
    assert "Left out: “eifel”, which is no date and no name in this library. Did you mean" in exact


def test_where_nothing_matches_the_filters_to_drop_are_named(
    photos: tuple[LibraryPhotos, Settings], client: TestClient
) -> None:
    empty = page_of(client, "rome 2019")
    found = dict(re.findall(r'<li><a href="([^"]*)">([^<]*without[^<]*)</a>', empty))
    assert list(found.values()) == ["2 without “Rome”", "6 without “2019”"]
    assert [len(re.findall(r"data-photo=", client.get(address).text)) for address in found] == [2, 6]


def page_of(client: TestClient, question: str) -> str:
    """The page that a question leads to."""
    return unescape(client.get(client.get("/search", params={"q": question}).headers["location"]).text)
