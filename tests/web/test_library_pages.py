"""The library as the server renders it: without JavaScript, with hostile names, empty, and with 100,000 photos."""
# ruff: noqa: DTZ001 - cameras know no time zone

import re
import sqlite3
import threading
import time
from collections.abc import Callable
from datetime import datetime
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from rig.large_library import ROOT, make_library
from sqlalchemy import event, insert
from starlette.testclient import TestClient
from support.library_photos import EIFFEL, GATE, LibraryPhotos
from support.page_server import LOCAL_URL
from support.trip_photos import TRIP, add_trip

from tagger.database.connection import Database, open_database
from tagger.database.enums import Runner
from tagger.database.tables import photos
from tagger.ledger.jobs import NewJob, create_job
from tagger.library.query import facets
from tagger.library.query.covers import find_covers
from tagger.settings import Settings
from tagger.web import cached_value, state
from tagger.web.app import create_app
from tagger.web.cached_value import CachedValue, close_all
from tagger.web.http.auth import AccessPolicy
from tagger.web.pages import overview

VIEWS = ("/library", "/photos", "/map", "/unknown", "/landmarks/eiffel-tower")
HOSTILE = "<img src=x onerror=alert(1)>\"'&amp;{{7*7}}.jpg"


@pytest.fixture
def library(web_database: Database, web_settings: Settings, tmp_path: Path) -> LibraryPhotos:
    return LibraryPhotos(web_database, web_settings, tmp_path / "photos")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages wait for their numbers."""
    monkeypatch.setattr(overview, "WAIT_S", 60.0)


def covers_of(page: str) -> list[str]:
    return re.findall(r'class="cover-name">([^<]*)<', page)


def tiles_of(page: str) -> list[int]:
    return [int(number) for number in re.findall(r'data-photo="(\d+)"', page)]


def address_of(page: str, label: str) -> str:
    """The address of the first link whose text begins like this."""
    links = re.findall(r'<a [^>]*href="([^"]*)"[^>]*>(.*?)</a>', page, flags=re.DOTALL)
    texts = [(unescape(address), re.sub(r"<[^>]*>", "", text).strip()) for address, text in links]
    return next(address for address, text in texts if text.startswith(label))


# ---------- empty ----------


def test_without_photos_every_page_explains_how_to_start(client: TestClient) -> None:
    for path in ("/library", "/photos", "/map", "/unknown"):
        page = client.get(path)
        assert page.status_code == 200, path
        assert "No photos yet" in page.text, path
        assert "tagger tag FOLDER" in page.text, path


def test_without_landmarks_the_library_leads_to_what_is_unknown(
    client: TestClient, library: LibraryPhotos
) -> None:
    library.photo("a.jpg", (EIFFEL, 0.2, False))
    page = client.get("/library").text
    assert "No landmarks recognised yet" in page
    assert 'href="/unknown"' in page
    assert "being classified" not in page


def test_until_a_job_has_found_landmarks_the_library_says_that_it_works(
    client: TestClient, web_database: Database, library: LibraryPhotos
) -> None:
    library.photo("a.jpg", classified=False)
    create_job(web_database, NewJob(library.model.id, 5, 0.5, Runner.WORKERS))
    page = client.get("/library").text
    assert "Your photos are being classified" in page
    assert 'hx-get="/library" hx-trigger="every 3s"' in page


# ---------- landmarks ----------


def test_landmarks_stand_with_most_photos_first_and_their_best_photo(
    client: TestClient, library: LibraryPhotos
) -> None:
    library.photo("a.jpg", (GATE, 0.9, True))
    library.photo("b.jpg", (EIFFEL, 0.7, True))
    library.photo("c.jpg", (EIFFEL, 0.9, True))
    library.photo("d.jpg", (EIFFEL, 0.8, True))
    page = client.get("/library").text
    assert covers_of(page) == ["Eiffel Tower", "Brandenburg Gate"]
    assert "3 photos" in page
    assert "/api/photos/3/thumbnail?size=256" in page


def test_a_cover_is_neither_gone_nor_rejected(library: LibraryPhotos) -> None:
    library.photo("gone.jpg", (EIFFEL, 0.99, True))
    library.photo("rejected.jpg", (EIFFEL, 0.98, True))
    library.photo("good.jpg", (EIFFEL, 0.7, True))
    library.photo("named.jpg", (GATE, 0.1, False))
    library.gone("gone.jpg")
    library.verdict("digest of rejected.jpg", EIFFEL, "rejected")
    library.verdict("digest of named.jpg", GATE, "confirmed")
    covers = find_covers(library.database)
    assert {slug: cover.photo_id for slug, cover in covers.items()} == {EIFFEL: 3, GATE: 4}


def test_results_of_a_search_are_under_headings_and_the_box_has_what_was_typed(
    client: TestClient, library: LibraryPhotos
) -> None:
    library.photo("Germany/a.jpg", (GATE, 0.9, True), taken_at=datetime(2026, 1, 2))
    page = client.get("/search?q=germany").text
    assert re.findall(r"<h2[^>]*>([^<]*)<", page) == [
        "Places, dates, trips and folders",
        "Countries",
        "Landmarks",
    ]
    assert re.search(r'id="search" name="q"[^>]* value="germany"', page)
    assert 'name="best"' not in page  # the form shows results, also where one matches best
    assert 'name="best"' in client.get("/library").text


@pytest.mark.usefixtures("counted")
def test_countries_of_a_search_are_those_with_photos(client: TestClient, library: LibraryPhotos) -> None:
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    found = re.findall(
        r'href="/library\?country=(\w+)"[^>]*>\w+ <span class="count">(\d+)<', client.get("/search?q=an").text
    )
    assert found == [("France", "1")]  # the model has landmarks in other countries, such as Germany


def test_a_country_is_a_filter_with_an_address(client: TestClient, library: LibraryPhotos) -> None:
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    library.photo("b.jpg", (GATE, 0.9, True))
    page = client.get(address_of(client.get("/library").text, "France")).text
    assert covers_of(page) == ["Eiffel Tower"]
    assert 'href="/api/landmarks.csv?country=France"' in page
    assert address_of(page, "All photos in France") == "/photos?country=France"
    library_page = client.get("/library").text
    assert address_of(library_page, "Photos") == "/photos?any_rank=1"
    assert library_page.count('type="search"') == 1


# ---------- photos ----------


def test_a_landmark_has_its_photos_and_the_same_as_data(client: TestClient, library: LibraryPhotos) -> None:
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    library.photo("b.jpg", (GATE, 0.9, True))
    page = client.get("/landmarks/eiffel-tower").text
    assert tiles_of(page) == [1]
    assert "Paris" in page
    for name in ("JSON", "CSV", "GeoJSON"):
        answer = client.get(address_of(page, name))
        assert answer.status_code == 200
        assert "a.jpg" in answer.text
        assert "b.jpg" not in answer.text
    assert client.get("/landmarks/no-such").status_code == 404


def test_links_alone_lead_through_all_photos(client: TestClient, library: LibraryPhotos) -> None:
    for n in range(130):
        library.photo(f"{n:03}.jpg", (EIFFEL, 0.9, True), digest=f"picture {n // 2}")
    for begin in ("/photos", "/photos?country=france", "/landmarks/eiffel-tower"):
        seen, address = [], begin
        while True:
            page = client.get(address).text
            seen += tiles_of(page)
            if "Next page" not in page:
                break
            address = address_of(page, "Next page")
        # Exact copies are one photo; in a country, copies may be at different places.
        assert seen == list(range(1, 131, 1 if "country" in begin else 2)), begin
        assert address_of(page, "First page") == begin


def test_photos_are_under_their_months_with_score_and_date(
    client: TestClient, library: LibraryPhotos
) -> None:
    library.photo("old.jpg", (EIFFEL, 0.9, True), taken_at=datetime(2023, 12, 31, 23, 59))
    library.photo("b.jpg", (EIFFEL, 0.83, True), taken_at=datetime(2024, 6, 3, 14, 5))
    library.photo("undated.jpg", (EIFFEL, 0.99, True))
    library.photo("a.jpg", (EIFFEL, 0.6, True), taken_at=datetime(2024, 6, 4), digest="same")
    library.photo("copy.jpg", (EIFFEL, 0.6, True), taken_at=datetime(2024, 6, 4), digest="same")
    page = client.get("/landmarks/eiffel-tower").text
    assert tiles_of(page) == [4, 2, 1, 3]
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert headings == ["June 2024", "December 2023", "No date"]
    assert "Eiffel Tower 83\u202f% · 3 June 2024, 14:05" in page
    assert page.count('2<span class="visually-hidden"> copies</span>') == 1
    orders = {"Oldest first": [1, 2, 4, 3], "By name": [4, 2, 1, 3], "By score": [3, 1, 2, 4]}
    for name, expected in orders.items():
        address = address_of(page, name)
        assert "sort=" in address
        sorted_page = client.get(address).text
        assert tiles_of(sorted_page) == expected
        assert ("<h2>" in sorted_page) == (name == "Oldest first")
    assert "By score" not in client.get("/photos").text
    assert client.get("/photos?sort=size").status_code == 400


def test_the_timelines_of_the_whole_library_are_not_counted(
    client: TestClient, library: LibraryPhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lists that people open, with what the page adds to their query; also right after a change."""
    monkeypatch.setattr("tagger.library.query.timeline.count_months", None)
    monkeypatch.setattr("tagger.web.cached_value.COST_FACTOR", 1e9)  # what the server keeps stays

    def months(options: str) -> dict[str | None, int]:
        return {
            section["month"]: section["photos"] for section in client.get(f"/api/timeline{options}").json()
        }

    library.photo("a.jpg", (EIFFEL, 0.9, True), taken_at=datetime(2024, 6, 3), digest="a")
    assert months("") == months("?any_rank=1") == {"2024-06": 1}
    library.photo("b.jpg", (EIFFEL, 0.2, False))
    library.photo("c.jpg", (EIFFEL, 0.9, True), taken_at=datetime(2023, 1, 1), digest="c")
    assert months("?sort=oldest") == {"2023-01": 1, "2024-06": 1}
    assert months("?any_rank=1&sort=name") == {None: 3}
    library.dismiss("c")
    assert months("") == {"2024-06": 1}
    assert months("?any_rank=1") == {"2024-06": 1, "2023-01": 1, None: 1}


def test_confirmed_landmarks_have_a_tick(client: TestClient, library: LibraryPhotos) -> None:
    library.photo("a.jpg", (EIFFEL, 0.9, True), digest="seen")
    library.photo("b.jpg", (EIFFEL, 0.8, True))
    library.verdict("seen", EIFFEL, "confirmed")
    for address in ("/photos", "/landmarks/eiffel-tower", "/photos?any_rank=1"):
        assert client.get(address).text.count('<span class="visually-hidden"> confirmed</span>') == 1, address
    photos = client.get("/api/timeline/photos?month=none").json()["photos"]
    assert {photo["file"]: photo["confirmed"] for photo in photos} == {"a.jpg": True, "b.jpg": False}


def test_every_filter_is_in_the_panel_and_stays_in_the_address(
    client: TestClient, library: LibraryPhotos
) -> None:
    library.photo("a.jpg", (EIFFEL, 0.9, True), taken_at=datetime(2026, 1, 2))
    library.photo("b.jpg", (EIFFEL, 0.6, True), taken_at=datetime(2026, 1, 2))
    options = {
        "landmark": EIFFEL,
        "country": "France",
        "near": "48.86,2.29",
        "radius_km": "5",
        "min_score": "0.8",
        "under": str(library.root),
        "taken_after": "2026-01-01",
        "taken_before": "2026-02-01",
    }
    sent = client.get("/photos", params={**options, "which": "", "model": ""})
    assert sent.status_code == 303
    assert parse_qs(urlsplit(sent.headers["location"]).query) == {
        name: [value] for name, value in options.items()
    }
    page = client.get(sent.headers["location"]).text
    assert tiles_of(page) == [1]
    panel = client.get(address_of(page, "Filter")).text
    for name in (*options, "verdict", "position"):
        assert f'name="{name}"' in panel
    assert "min_score=0.8" in address_of(page, "CSV")
    assert '<option value="0.8" selected>80\u202f%<' in panel
    without = client.get(address_of(page, "Remove filter score from 80")).text
    assert tiles_of(without) == [2, 1]


def test_each_camera_is_a_chip_that_removes_it_alone(client: TestClient, library: LibraryPhotos) -> None:
    for name, model in (("a", "Pixel 8"), ("b", "Pixel 9"), ("c", "Canon EOS 5D")):
        library.photo(f"{name}.jpg", (EIFFEL, 0.9, True), camera_id=library.camera(model=model))
    page = client.get("/photos?camera=pixel+8&camera=Pixel+9&verdict=none&sort=name").text
    assert tiles_of(page) == [1, 2]
    without = address_of(page, "Remove filter pixel 8")
    assert without == "/photos?verdict=none&camera=Pixel+9&sort=name"
    assert tiles_of(client.get(without).text) == [2]
    last = address_of(client.get(without).text, "Remove filter Pixel 9")
    assert last == "/photos?verdict=none&sort=name"
    assert address_of(page, "Remove filter without a verdict").startswith(
        "/photos?camera=pixel+8&camera=Pixel+9"
    )


def test_the_panel_has_the_number_of_photos_of_each_choice(
    client: TestClient, library: LibraryPhotos
) -> None:
    phone = library.camera("Google", "Pixel 8")
    library.photo("x/a.jpg", (EIFFEL, 0.9, True), taken_at=datetime(2026, 1, 2), camera_id=phone)
    library.photo("x/y/b.jpg", (EIFFEL, 0.9, True), taken_at=datetime(2025, 1, 2))
    library.photo("c.jpg", (GATE, 0.9, True), taken_at=datetime(2026, 5, 2))
    library.verdict("digest of c.jpg", GATE, "confirmed")
    panel = client.get(
        "/photos/filter?camera=pixel+8&taken_after=2026-01-01&taken_before=2027-01-01&sort=name"
    ).text
    assert choices_of(panel, "landmark") == {"Eiffel Tower": "1"}
    assert choices_of(panel, "year") == {"2026": "1"}
    assert choices_of(panel, "camera") == {"Google Pixel 8": "1"}
    assert choices_of(panel, "which") == {"With a landmark": "1", "All classified": "1"}
    assert choices_of(panel, "under") == {"x": "1"}
    assert choices_of(panel, "position") == {"Any": None, "Without a position": "1"}
    assert '1<span class="visually-hidden"> photo</span>' in panel
    assert (checked(panel, "year"), checked(panel, "camera")) == (["2026"], ["Google Pixel 8"])
    assert 'type="hidden" name="sort" value="name"' in panel
    sent = client.get(
        "/photos",
        params={
            "landmark": ["", GATE],
            "year": ["2025", "2026"],
            "which": "",
            "sort": "name",
            "taken_after": "",
        },
    )
    assert sent.headers["location"] == f"/photos?landmark={GATE}&year=2025&year=2026&sort=name"
    page = client.get("/photos?taken_after=2025-01-01&taken_before=2026-01-01").text
    assert tiles_of(page) == [2]
    assert address_of(page, "Remove filter 2025") == "/photos"
    page = client.get(
        f"/photos?landmark={EIFFEL}&landmark={GATE}&year=2026&country=France&country=Germany"
    ).text
    assert tiles_of(page) == [3, 1]
    assert address_of(page, "Remove filter Eiffel Tower") == (
        f"/photos?landmark={GATE}&country=France&country=Germany&year=2026"
    )
    assert "By score" not in page
    inside = client.get("/photos/filter", params={"under": str(library.root / "x" / "y")}).text
    assert choices_of(inside, "under") == {"x": "2", "y": "1"}
    assert checked(inside, "under") == [str(library.root / "x" / "y")]
    nothing = client.get("/photos/filter?country=Germany&landmark=eiffel-tower").text
    assert choices_of(nothing, "country") == {"Germany": "0", "France": "2"}
    assert choices_of(nothing, "landmark")["Eiffel Tower"] == "0"  # by name, as in its chip


def test_a_folder_of_the_panel_opens_and_closes_without_being_chosen(
    client: TestClient, library: LibraryPhotos
) -> None:
    library.photo("x/y/z/a.jpg", (EIFFEL, 0.9, True))
    library.photo("w/b.jpg", (EIFFEL, 0.9, True))
    panel = client.get("/photos/filter?verdict=none").text
    assert choices_of(panel, "under") == {"x": "1", "w": "1"}
    assert toggles(panel) == [("x", "false")]
    opened = client.get(toggle(panel, "x")).text
    assert choices_of(opened, "under") == {"x": "1", "y": "1", "w": "1"}
    assert (checked(opened, "under"), checked(opened, "verdict")) == ([], ["none"])
    assert toggles(opened) == [("x", "true"), ("y", "false")]
    deeper = client.get(toggle(opened, "y")).text
    assert choices_of(deeper, "under") == {"x": "1", "y": "1", "z": "1", "w": "1"}
    closed = client.get(toggle(deeper, "x")).text
    assert toggles(closed) == [("x", "false")]
    folders = [str(library.root / name) for name in ("x/y", "w")]
    chosen = client.get("/photos/filter", params={"under": folders}).text
    assert sorted(checked(chosen, "under")) == sorted(folders)
    assert toggles(chosen) == []  # what is chosen stays in sight
    assert client.get("/photos/filter?folders=relative&folders=/elsewhere").status_code == 200
    assert client.get("/photos?folders=/x").status_code == 400


def toggles(panel: str) -> list[tuple[str, str]]:
    """The folders that can be opened or closed, and whether they are open."""
    found = re.findall(r'aria-expanded="(\w+)" aria-label="Folders in ([^"]+)"', panel)
    return [(name, is_open) for is_open, name in found]


def toggle(panel: str, folder: str) -> str:
    """The address that opens or closes a folder."""
    (address,) = re.findall(rf'href="([^"]*)"[^>]*aria-label="Folders in {folder}"', panel)
    return unescape(address)


def test_the_panel_says_of_how_many_photos_its_numbers_are(
    client: TestClient, library: LibraryPhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    assert "There are many photos" not in client.get("/photos/filter").text
    count = facets.count_facets
    monkeypatch.setattr(state, "count_facets", lambda *query, **names: count(*query, **names, most_read=1))
    panel = client.get("/photos/filter?any_rank=1").text
    assert "is of the 50\u202f000 photos that were added last" in panel


def test_among_all_classified_photos_a_landmark_is_one_that_was_accepted(
    client: TestClient, library: LibraryPhotos
) -> None:
    library.photo("a.jpg", (EIFFEL, 0.9, True), (GATE, 0.05, False))
    library.photo("b.jpg", (EIFFEL, 0.2, False), (GATE, 0.1, False))
    panel = client.get("/photos/filter?any_rank=1").text
    assert choices_of(panel, "landmark") == {"Eiffel Tower": "1"}
    assert choices_of(panel, "country") == {"France": "1"}
    for option in ({"landmark": EIFFEL}, {"country": "France"}):
        sent = client.get("/photos", params={**option, "which": "any_rank"})
        assert tiles_of(client.get(sent.headers["location"]).text) == [1]
    everything = client.get(f"/photos?landmark={GATE}&any_rank=1").text
    assert sorted(tiles_of(everything)) == [1, 2]  # by its address, as in `tagger query`


def test_photos_of_a_place_are_of_accepted_tags_in_the_panel_too(
    client: TestClient, library: LibraryPhotos
) -> None:
    library.photo("a.jpg", (EIFFEL, 0.9, True), taken_at=datetime(2026, 1, 2))
    library.photo("b.jpg", (EIFFEL, 0.2, False), taken_at=datetime(2025, 1, 2))
    for place in (
        "landmark=eiffel-tower",
        "country=France",
    ):
        for address in (f"/photos/filter?{place}", f"/photos/filter?{place}&any_rank=1"):
            panel = client.get(address).text
            assert choices_of(panel, "which") == {}  # candidates are no choice, and have no number
            assert choices_of(panel, "year") == {"2026": "1"}


def test_without_the_last_landmark_or_country_all_classified_photos_are_left(
    client: TestClient, library: LibraryPhotos
) -> None:
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    library.photo("b.jpg", (EIFFEL, 0.2, False))
    for query, label, rest in (
        ("landmark=eiffel-tower", "Eiffel Tower", "any_rank=1"),
        ("country=France&sort=name", "France", "sort=name&any_rank=1"),
        ("landmark=eiffel-tower&min_score=0.5", "Eiffel Tower", "min_score=0.5&any_rank=1"),
        ("landmark=eiffel-tower&country=France", "France", "landmark=eiffel-tower"),
        ("landmark=eiffel-tower&near=48.86,2.29", "Eiffel Tower", "near=48.86%2C2.29"),
        ("country=France&unknown=1", "France", "unknown=1"),
    ):
        page = client.get(f"/photos?{query}").text
        assert address_of(page, f"Remove filter {label}") == f"/photos?{rest}"
        panel = client.get(address_of(page, "Filter")).text
        hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', panel))
        which = [*checked(panel, "which"), *([hidden["which"]] if "which" in hidden else [])]
        is_same = client.get("/photos", params={**parse_qs(rest), "which": which or ""}).headers["location"]
        assert parse_qs(urlsplit(is_same).query) == parse_qs(rest)


@pytest.mark.usefixtures("counted")
def test_photos_leads_to_those_that_are_not_classified(client: TestClient, library: LibraryPhotos) -> None:
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    library.photo("b.jpg", classified=False)
    library.photo("c.jpg", classified=False)
    library.photo("d.jpg", classified=False, failure_kind="damaged")
    page = client.get("/photos?any_rank=1").text
    assert tiles_of(page) == [1]
    waiting = client.get(address_of(page, "2 photos are not classified yet")).text
    failed = client.get(address_of(page, "1 photo failed")).text
    assert (sorted(tiles_of(waiting)), tiles_of(failed)) == ([2, 3], [4])
    assert "data-unclassified" not in waiting + failed
    nothing = client.get("/photos?min_score=0.99").text
    assert "No matching photos" in nothing
    assert address_of(nothing, "1 photo failed") == "/photos?failed=1"
    for query in ("failed=1&year=1999", "untagged=1&year=1999", "dismissed=1", "verdict=any"):
        searched = client.get(f"/photos?{query}").text
        assert "No matching photos" in searched
        assert "Not searched" not in searched


@pytest.mark.usefixtures("counted")
def test_before_a_photo_is_classified_photos_says_so(client: TestClient, library: LibraryPhotos) -> None:
    library.photo("a.jpg", classified=False)
    page = client.get("/photos?any_rank=1").text
    assert "No photo is classified yet" in page
    assert address_of(page, "1 photo is not classified yet") == "/photos?untagged=1"


@pytest.mark.usefixtures("counted")
def test_more_unclassified_photos_than_are_counted_are_said_to_be_more(
    client: TestClient, library: LibraryPhotos
) -> None:
    row = {"root_id": library.root_id, "path_bytes": b"", "size_bytes": 1000, "mtime_ns": 1}
    with library.database.write() as connection:
        connection.execute(insert(photos), [row | {"path": f"{n}.jpg"} for n in range(1001)])
    assert "More than 999 photos are not classified yet" in client.get("/photos?any_rank=1").text


@pytest.mark.usefixtures("counted")
def test_all_classified_photos_are_no_filter(client: TestClient, library: LibraryPhotos) -> None:
    library.photo("a.jpg", (EIFFEL, 0.9, True), taken_at=datetime(2026, 1, 2))
    page = client.get("/photos?any_rank=1&sort=oldest").text
    assert "Remove filter" not in page
    assert "data-unclassified" not in page
    assert address_of(client.get("/photos").text, "Remove filter with a landmark") == "/photos?any_rank=1"
    one = client.get("/photos?any_rank=1&min_score=0.5").text
    assert address_of(one, "Remove filter score from 50") == "/photos?any_rank=1"
    assert "Clear all" not in one
    two = client.get("/photos?any_rank=1&min_score=0.5&year=2026").text
    assert address_of(two, "Clear all") == "/photos?any_rank=1"
    assert "all classified" not in two


def test_each_list_of_photos_says_which_one_it_is(client: TestClient, library: LibraryPhotos) -> None:
    library.photo("a.jpg", (EIFFEL, 0.9, True), taken_at=datetime(2026, 1, 2))
    for query, title, heading, first_chip in (
        ("any_rank=1", "All classified photos", "All classified photos", None),
        ("any_rank=1&year=2026&sort=name", "2026 · Photos", "Photos", "2026"),
        ("sort=oldest", "Photos with a landmark", "Photos with a landmark", "with a landmark"),
        ("year=2026", "2026 · Photos with a landmark", "Photos with a landmark", "with a landmark"),
        ("country=France&year=2026", "France, 2026 · Photos", "Photos", "France"),
        ("verdict=none", "Without a verdict · Photos", "Photos", "without a verdict"),
        ("untagged=1&year=2026", "2026, not classified yet · Photos", "Photos", "2026"),
    ):
        page = client.get(f"/photos?{query}").text
        assert f"<title>{title} · landmark tagger</title>" in page
        assert f"<h1>{heading}</h1>" in page
        assert [*re.findall(r"Remove filter </span>([^<]*)<", page), None][0] == first_chip
        panel = client.get(address_of(page, "Filter")).text
        assert f">{heading}</a></nav>" in panel


def test_the_filter_counts_the_photos_with_a_landmark(client: TestClient, library: LibraryPhotos) -> None:
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    library.photo("b.jpg", (EIFFEL, 0.2, False))
    library.photo("x/c.jpg", classified=False)
    numbers = {"With a landmark": "1", "All classified": "2", "Unknown": "1", "Not classified": "1"}
    for query in ("", "?any_rank=1", "?untagged=1"):
        assert choices_of(client.get(f"/photos/filter{query}").text, "which") == numbers
    of_folder = client.get("/photos/filter", params={"under": str(library.root / "x")}).text
    assert choices_of(of_folder, "which") == {"With a landmark": "0", "Not classified": "1"}


def test_a_long_list_of_the_filter_shows_its_first_choices_and_the_number_of_others(
    client: TestClient, library: LibraryPhotos
) -> None:
    for n in range(203):
        camera = library.camera(model=f"Camera {n}") if n < 11 else None
        library.photo(f"{n:03}/a.jpg", (EIFFEL, 0.9, True), camera_id=camera)
    panel = client.get("/photos/filter").text
    assert re.findall(
        r'id="rest=(.*?)".*?<span>(.*?)<span class="visually-hidden">(.*?)</span>', panel, re.DOTALL
    ) == [
        ("camera", "3 more", " cameras"),
        ("under", "195 more", " folders"),
    ]
    assert "3 are not listed: set other filters to see them." in panel
    assert len(choices_of(panel, "camera")) == 11
    assert len(choices_of(panel, "under")) == 200
    facets = {facet["facet"]: facet["more"] for facet in client.get("/api/facets").json()}
    assert (facets["folder"], facets["camera"]) == (3, 0)


def test_a_choice_of_a_long_list_is_among_the_first_and_the_rest_stays_folded(
    client: TestClient, library: LibraryPhotos
) -> None:
    for n in range(12):
        camera = library.camera(model=f"Camera {n}")
        library.photo(f"{n:02}/a.jpg", (EIFFEL, 0.9, True), camera_id=camera)
        library.photo(f"10/in-{n:02}/a.jpg", (EIFFEL, 0.9, True))
    cameras = client.get("/photos/filter?camera=Camera+9").text
    assert 'class="filter-rest" open' not in cameras
    assert list(choices_of(first_choices(cameras), "camera"))[8:] == ["Camera 9"]
    folders = client.get("/photos/filter", params={"under": str(library.root / "10")}).text
    assert 'class="filter-rest" open' not in folders
    rest = re.findall(
        r'id="rest=.*?<span>(.*?)<span class="visually-hidden">(.*?)</span>(.*?)</span>', folders, re.DOTALL
    )
    assert rest == [("4 more", " folders", " in 10"), ("3 more", " folders", "")]
    inside = [f"in-{n:02}" for n in range(12)]
    assert list(choices_of(first_choices(folders), "under"))[8:] == ["10", *inside[:8]]
    assert list(choices_of(folders, "under"))[8:] == ["10", *inside, "08", "09", "11"]


def first_choices(panel: str) -> str:
    """The panel without the choices behind *more*."""
    return re.sub(r'<details class="filter-rest.*?</details>', "", panel, flags=re.DOTALL)


def test_without_a_landmark_its_list_leads_to_the_others(client: TestClient, library: LibraryPhotos) -> None:
    library.photo("b.jpg", (EIFFEL, 0.2, False))
    page = client.get("/photos").text
    assert "No photo with a landmark yet" in page
    assert address_of(page, "all classified photos") == "/photos?any_rank=1"


def test_the_order_is_no_filter_and_stays(client: TestClient, library: LibraryPhotos) -> None:
    library.photo("a.jpg", (EIFFEL, 0.9, True), taken_at=datetime(2026, 1, 2))
    sorted_ = client.get("/photos?landmark=eiffel-tower&year=2026&sort=name").text
    assert address_of(sorted_, "Clear all") == "/photos?any_rank=1&sort=name"
    panel = client.get(address_of(sorted_, "Filter")).text
    assert address_of(panel, "Clear all") == "/photos?any_rank=1&sort=name"
    nothing = client.get("/photos?min_score=0.99&sort=oldest").text
    assert address_of(nothing, "all classified photos") == "/photos?any_rank=1&sort=oldest"
    by_score = client.get("/photos?landmark=eiffel-tower&year=2026&sort=score").text
    assert address_of(by_score, "Clear all") == "/photos?any_rank=1"  # scores of different landmarks
    rest = client.get(address_of(by_score, "Remove filter Eiffel Tower")).text
    assert re.findall(r'aria-current="true">([^<]*)</a>', rest)[-1:] == ["By score"]
    wrong = client.get("/photos?year=2026&min_score=0.5&sort=size").text
    assert address_of(wrong, "Clear all") == "/photos?any_rank=1"


def test_the_filter_of_a_trip_has_its_name(client: TestClient, library: LibraryPhotos) -> None:
    add_trip(library)
    page = client.get(f"/photos?trip={TRIP}").text
    chips = re.findall(r"Remove filter </span>([^<]*)<", page)
    (summary,) = client.get("/api/trips").json()
    assert chips == [f"trip {summary['name']}, {summary['dates']}"]


def choices_of(panel: str, option: str) -> dict[str, str | None]:
    """The names of the choices of a filter with their numbers."""
    labels = re.findall(r'<label[^>]*><input[^>]* name="(\w+)"[^>]*><span>(.*?)</span>(.*?)</label>', panel)
    numbers = {name: re.search(r"(\d+)\+?<", rest) for field, name, rest in labels if field == option}
    return {unescape(name): match[1] if match else None for name, match in numbers.items()}


def checked(panel: str, option: str) -> list[str]:
    inputs = re.findall(r'<input type="(?:radio|checkbox)" name="(\w+)" value="([^"]*)" checked', panel)
    return [unescape(value) for name, value in inputs if name == option]


def test_a_date_is_a_chip_in_words(client: TestClient, library: LibraryPhotos) -> None:
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    for typed, text in (
        ("taken_after=2026-01-31", "from 31 January 2026"),
        ("taken_before=2026-02-01", "before 1 February 2026"),
        ("taken_after=2026-01-31T12:30", "from 2026-01-31T12:30"),
        ("taken_after=soon", "from soon"),
    ):
        chips = re.findall(r"Remove filter </span>([^<]*)<", client.get(f"/photos?{typed}").text)
        assert chips == ["with a landmark", text]


def test_an_area_is_a_chip_with_its_size_and_centre(client: TestClient, library: LibraryPhotos) -> None:
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    for typed, text in (
        ("near=48.858,2.294", "within 10 km of 48.858, 2.294"),
        ("near=0,-30&radius_km=0.05", "within 0.05 km of 0, -30"),
        ("near=48.858,2.294&radius_km=2000", "within 2\u202f000 km of 48.858, 2.294"),
        ("near=north", "north"),
        ("box=43.7,7.27,43.7,7.27", "at 43.7, 7.27"),
        ("box=-18,177,-17,-179", "area of 424 by 111 km around -17.5, 179"),
        ("box=-90,-180,90,180", "area of 40\u202f030 by 20\u202f015 km around 0, 0"),
        ("box=here", "here"),
    ):
        assert re.findall(r"Remove filter </span>([^<]*)<", client.get(f"/photos?{typed}").text) == [text]


def test_a_score_of_ones_own_stays_chosen(client: TestClient, library: LibraryPhotos) -> None:
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    page = client.get("/photos/filter?min_score=0.42").text
    scores = re.findall(r'<option value="(0[\d.]*)"( selected)?', page)
    assert [value for value, _ in scores] == sorted((value for value, _ in scores), key=float)
    assert [value for value, chosen in scores if chosen] == ["0.42"]


def test_which_photos_are_chosen_by_one_field_and_named_by_their_option(
    client: TestClient, library: LibraryPhotos
) -> None:
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    library.photo("b.jpg", (EIFFEL, 0.2, False))
    library.photo("c.jpg", classified=False)
    for which, address, numbers in (
        ("", "/photos", [1]),
        ("any_rank", "/photos?any_rank=1", [1, 2]),
        ("unknown", "/photos?unknown=1", [2]),
        ("untagged", "/photos?untagged=1", [3]),
        ("nonsense", "/photos", [1]),
    ):
        sent = client.get("/photos", params={"which": which, "country": ""})
        assert (sent.status_code, sent.headers["location"]) == (303, address)
        page = client.get(address).text
        assert tiles_of(page) == numbers
        panel = client.get(address_of(page, "Filter")).text
        assert checked(panel, "which") == ([which] if "=" in address else [""])


def test_a_wrong_filter_is_answered_with_what_to_do(client: TestClient, library: LibraryPhotos) -> None:
    for query, output in (
        ("landmark=Eifel+Tower", "Did you mean eiffel-tower"),
        ("near=Paris", "is not a position"),
        ("under=2003", "is not a folder"),
        ("contry=France", "unknown option contry; valid options: landmark, country, near"),
        ("after=nonsense", "Request the first page again"),
        ("unknown=1&min_score=0.5", "cannot be combined"),
    ):
        page = client.get(f"/photos?{query}")
        assert page.status_code == 400
        assert output in page.text
        if query.startswith(("contry", "after")):
            continue
        panel = client.get(address_of(page.text, "Filter"))
        assert panel.status_code == 400
        assert output in panel.text
        for option in ("near", "under", "landmark"):
            if query.startswith(option):
                assert f'value="{query.partition("=")[2].replace("+", " ")}"' in panel.text


def test_photos_of_which_none_is_classified_are_not_said_to_have_landmarks(
    client: TestClient, library: LibraryPhotos
) -> None:
    library.photo("new.jpg", classified=False)
    page = client.get("/unknown").text
    assert "No photo is classified yet" in page
    assert "has a landmark" not in page


def test_the_map_has_a_dot_and_a_line_for_each_landmark(client: TestClient, library: LibraryPhotos) -> None:
    for n in range(4):
        library.photo(f"{n}.jpg", (EIFFEL, 0.9, True))
    library.photo("b.jpg", (GATE, 0.9, True))
    page = client.get("/map").text
    radii = [float(radius) for radius in re.findall(r'class="map-dot"[^>]* r="([\d.]+)"', page)]
    assert radii == [12.0, 6.0]  # small ones on top; the area says how many
    assert "1 landmark, 4 photos" in page
    countries = re.findall(r'class="strong">(\w+)<', page[page.index("map-list") :])
    assert countries == ["France", "Germany"]
    assert page.count('href="/landmarks/eiffel-tower"') == 2
    assert 'aria-label="Eiffel Tower, 4 photos"' in page


def test_a_part_of_the_map_shows_the_same_dots_more_closely(
    client: TestClient, library: LibraryPhotos
) -> None:
    for n, slug in enumerate((EIFFEL, GATE)):
        library.photo(f"{n}.jpg", (slug, 0.9, True))
    world = client.get("/map").text
    assert 'aria-current="true">World<' in world
    assert "Africa" not in world  # where nothing is
    closer = client.get(address_of(world, "Europe")).text
    boxes = [
        [float(number) for number in re.findall(r'class="map" viewBox="([^"]*)"', page)[0].split()]
        for page in (world, closer)
    ]
    assert boxes[1][2] / boxes[1][3] == pytest.approx(boxes[0][2] / boxes[0][3], rel=0.01)
    assert boxes[1][2] < boxes[0][2] / 3
    dots = re.findall(r'class="map-dot" cx="([\d.]+)" cy="([\d.]+)" r="([\d.]+)"', closer)
    left, top, width, height = boxes[1]
    for x, y, radius in dots:
        assert left < float(x) < left + width
        assert top < float(y) < top + height
        assert float(radius) / width == pytest.approx(12 / 1000, rel=0.02)
    assert len(dots) == 2
    assert client.get("/map?part=Nowhere").text == world


# ---------- hostile ----------


def test_what_was_typed_is_text(client: TestClient, library: LibraryPhotos) -> None:
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    for path in ("/library", "/search", "/photos"):
        page = client.get(path, params={"q": HOSTILE, "country": HOSTILE, "near": HOSTILE})
        assert "<img src=x" not in page.text, path


def test_pages_hold_no_script_or_style_of_their_own(client: TestClient, library: LibraryPhotos) -> None:
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    for path in (*VIEWS, "/search?q=e"):
        page = client.get(path).text
        assert " style=" not in page, path
        assert not re.search(r"<script(?![^>]*\bsrc=)", page), path
        assert not re.search(r"\son\w+=", page), path
        assert "http://" not in page.replace("http://www.w3.org", ""), path
        assert "https://" not in page, path


# ---------- a hundred thousand photos ----------


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('many') / 'tagger.sqlite'}"
    make_library(url, 100_000).close()
    return url


@pytest.mark.slow
def test_first_views_of_a_large_library_pass_few_rows(many: str, web_settings: Settings) -> None:
    """Counts steps of SQLite. In a country, all unknown photos are read to sort them, in a million steps; reading all tags takes more."""
    settings = web_settings.model_copy(update={"database_url": many, "model": None})
    database = open_database(many)
    steps = _counted_steps(database)
    with TestClient(create_app(settings, database, AccessPolicy()), base_url=LOCAL_URL) as client:
        for path in (
            *("/photos", "/unknown", "/photos?any_rank=1", "/photos?taken_after=2001-06-01"),
            *(
                "/photos?near=43.95,4.81&radius_km=300",
                "/photos?country=France",
                "/photos?country=France&unknown=1",
            ),
        ):
            before = steps()
            assert len(tiles_of(client.get(path).text)) == 60
            assert steps() - before < 2_500_000, path
    database.close()


@pytest.mark.slow
def test_the_photos_beside_one_in_a_large_library_are_found_in_few_steps(
    many: str, web_settings: Settings
) -> None:
    settings = web_settings.model_copy(update={"database_url": many, "model": None})
    database = open_database(many)
    steps = _counted_steps(database)
    with TestClient(create_app(settings, database, AccessPolicy()), base_url=LOCAL_URL) as client:
        for query in (
            *("any_rank=1", "landmark=eiffel-tower", f"under={ROOT}", "taken_after=2001-06-01"),
            *("near=43.95,4.81&radius_km=300", "country=France"),
        ):
            in_order = f"/api/photos?{query}&sort=newest&distinct=1&limit=502"
            photos = client.get(in_order).json()["photos"]
            before = steps()
            page = client.get(f"/photos/{photos[500]['id']}?{query}").text
            assert steps() - before < 1_000_000, query
            for rel, index in (("prev", 499), ("next", 501)):
                assert f'rel="{rel}" href="/photos/{photos[index]["id"]}?' in page
    database.close()


def _counted_steps(database: Database) -> Callable[[], int]:
    """Steps of requests, without those of the threads that refresh kept numbers."""
    counted = [0]

    def step() -> int:
        if threading.current_thread().name != "overview":
            counted[0] += 1000
        return 0

    def count(connection: sqlite3.Connection, _record: object) -> None:
        connection.set_progress_handler(step, 1000)

    event.listen(database._engine, "connect", count)
    database._engine.dispose()
    return lambda: counted[0]


# ---------- slow counts ----------


def test_slow_counts_do_not_delay_the_page_and_appear_later() -> None:
    may_end = threading.Event()
    cached = CachedValue(lambda: may_end.wait(30), 1000.0)
    assert cached.get(0.0) is None
    may_end.set()
    cached.close()
    assert cached.get(0.0) is True


def test_a_server_that_stops_does_not_wait_for_the_end_of_its_queries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cached_value, "CLOSE_S", 0.1)
    may_end = threading.Event()
    values = [CachedValue(lambda: may_end.wait(30), 1000.0) for _ in range(2)]
    for value in values:
        value.get(0.0)
    close_all(values)
    assert not any(value.has_value for value in values)
    may_end.set()
    for value in values:
        value.close(30)
    assert all(value.has_value for value in values)


def test_values_that_share_a_turn_are_refreshed_one_after_the_other() -> None:
    turn, may_end, order = threading.Lock(), threading.Event(), list[str]()

    def first() -> int:
        order.append("first begins")
        assert may_end.wait(30)
        order.append("first ends")
        return 1

    slow = CachedValue(first, 1000.0, turn)
    other = CachedValue(lambda: order.append("other"), 1000.0, turn)
    assert slow.get(0.0) is None
    while not order:
        time.sleep(0.01)
    other.get(0.1)
    assert order == ["first begins"]
    may_end.set()
    assert slow.get(30.0) == 1
    other.get(30.0)
    assert order == ["first begins", "first ends", "other"]


def test_a_value_is_shown_at_once_while_it_is_the_turn_of_another() -> None:
    turn, values = threading.Lock(), iter([1, 2])
    cached = CachedValue(lambda: next(values), 0.0, turn)
    assert cached.get(30.0) == 1
    cached._stale_at_s = 0.0
    with turn:
        assert cached.get(3600.0) == 1
    cached.close(30.0)


def test_a_value_that_was_closed_before_its_turn_is_not_refreshed() -> None:
    turn = threading.Lock()
    with turn:
        waiting = CachedValue(lambda: 1, 1000.0, turn)
        waiting.get(0.0)
        waiting.close(0.0)
    waiting.close(30.0)
    assert not waiting.has_value


def test_old_counts_are_shown_while_new_ones_are_computed() -> None:
    may_end = threading.Event()
    may_end.set()
    values = iter([1, 2])

    def find() -> int:
        may_end.wait(30)
        return next(values)

    cached = CachedValue(find, 0.0)
    assert cached.get(30.0) == 1
    cached._stale_at_s = 0.0
    may_end.clear()
    assert cached.get(0.0) == 1
    may_end.set()
    cached.close()
    assert cached._value == 2


def test_a_query_that_took_long_is_not_waited_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    durations_s, may_end = iter([9.0, 0.0]), threading.Event()
    may_end.set()

    def find() -> str:
        may_end.wait(30)
        now_s[0] += next(durations_s)
        return f"at {now_s[0]:.0f}"

    now_s = [0.0]
    monkeypatch.setattr(cached_value.time, "monotonic", lambda: now_s[0])
    cached = CachedValue(find, 1.0)
    assert cached.get(30.0) == "at 9"
    now_s[0] = 1000.0
    may_end.clear()
    assert cached.get(8.0) == "at 9"  # at once: the query cannot end before the event
    may_end.set()
    cached.close()
    assert cached.get(8.0) == "at 1000"


def test_while_photos_are_being_counted_the_library_is_there_and_asks_again(
    client: TestClient, library: LibraryPhotos
) -> None:
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    may_end = threading.Event()
    overview = client.app.state.overview  # type: ignore[attr-defined]
    counts = overview._counts
    overview._counts = CachedValue(lambda: may_end.wait(30) and None, 1.0)
    page = client.get("/library").text
    assert covers_of(page) == ["Eiffel Tower"]
    assert "Counting photos" in page
    assert 'hx-trigger="load delay:1s"' in page
    overview._counts, overview._covers = counts, overview._counts
    page = client.get("/library").text
    assert "1 photo<" in page
    assert "Choosing covers" in page
    assert "Counting photos" not in page
    assert 'hx-trigger="load delay:1s"' in page
    may_end.set()
