"""The library as the server renders it: without JavaScript, with hostile names, empty, and large."""
# ruff: noqa: DTZ001 - cameras know no time zone

import re
import threading
from datetime import datetime
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import insert, update
from starlette.testclient import TestClient
from support.databases import execute
from support.library_photos import EIFFEL, GATE, TRIP, add_trip
from support.page_server import tiles_of

from tagger.database import Runner
from tagger.database.tables import photos, positions
from tagger.ledger import NewJob, create_job
from tagger.query import facets
from tagger.query.counts import find_covers
from tagger.verdicts import star_photos
from tagger.web.state import CachedQuery

HOSTILE = "<img src=x onerror=alert(1)>\"'&amp;{{7*7}}.jpg"


def covers_of(page: str) -> list[str]:
    return re.findall(r'class="cover-name">([^<]*)<', page)


def address_of(page: str, label: str) -> str:
    """The address of the first link whose text begins like this."""
    links = re.findall(r'<a [^>]*href="([^"]*)"[^>]*>(.*?)</a>', page, flags=re.DOTALL)
    texts = [(unescape(address), re.sub(r"<[^>]*>", "", text).strip()) for address, text in links]
    return next(address for address, text in texts if text.startswith(label))


def panel_of(client: TestClient, page: str) -> str:
    (address,) = re.findall(r'data-filter-address="([^"]*)"', page)
    return client.get(unescape(address)).text


def test_without_photos_every_page_explains_how_to_start(client):
    for path in ("/places", "/photos", "/map", "/photos?unknown=1"):
        page = client.get(path)
        assert page.status_code == 200, path
        assert "No photos yet" in page.text, path
        assert 'href="/jobs/new"' in page.text, path


@pytest.mark.usefixtures("counted")
def test_without_landmarks_the_library_leads_to_what_is_unknown_or_says_that_it_works(client, library):
    library.photo("a.jpg", (EIFFEL, 0.2, False))
    page = client.get("/places").text
    assert "No landmarks recognised yet" in page
    assert 'href="/photos?unknown=1"' in page
    assert "being processed" not in page
    create_job(library.database, NewJob(library.model.id, 5, 0.5, Runner.WORKERS))
    page = client.get("/places").text
    assert "Your photos are being processed" in page
    assert 'hx-get="/places" hx-trigger="every 3s"' in page


@pytest.mark.usefixtures("counted")
def test_landmarks_stand_with_most_photos_first_and_their_best_photo(client, library):
    library.photo("a.jpg", (GATE, 0.9, True))
    library.photo("b.jpg", (EIFFEL, 0.7, True))
    library.photo("c.jpg", (EIFFEL, 0.9, True))
    library.photo("d.jpg", (EIFFEL, 0.8, True))
    page = client.get("/places").text
    assert covers_of(page) == ["Eiffel Tower", "Brandenburg Gate"]
    assert re.findall(r'href="/photos\?country=(\w+)"', page) == ["France", "Germany"]
    assert "3 photos" in page
    assert "/api/photos/3/thumbnail?size=256" in page


@pytest.mark.usefixtures("counted")
def test_a_landmark_and_its_sight_are_listed_once_in_each_language(client, web_database, library):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        library.photo(name, (EIFFEL, 0.9, True))
        library.position(name, 48.8583, 2.2945, "France")
    execute(web_database, update(positions).values(sight="Eiffel Tower"))
    for language, name in (("en", "Eiffel Tower"), ("de", "Eiffelturm")):
        page = client.get("/places", headers={"Accept-Language": language}).text
        assert covers_of(page) == [name]


def test_a_cover_is_neither_gone_nor_rejected(library):
    library.photo("gone.jpg", (EIFFEL, 0.99, True))
    library.photo("rejected.jpg", (EIFFEL, 0.98, True))
    library.photo("good.jpg", (EIFFEL, 0.7, True))
    library.photo("named.jpg", (GATE, 0.1, False))
    library.gone("gone.jpg")
    library.verdict("digest of rejected.jpg", EIFFEL, "rejected")
    library.verdict("digest of named.jpg", GATE, "confirmed")
    library.photo("starred.jpg", (EIFFEL, 0.6, True))
    for starred, cover in (([], 3), ([2, 3], 3), ([5], 5), ([1], 5)):  # by the newest star, if there is one
        star_photos(library.database, starred, "ada", starred=True)
        covers = find_covers(library.database)
        assert {slug: each.photo_id for slug, each in covers.items()} == {EIFFEL: cover, GATE: 4}


def test_a_landmark_has_its_photos_which_a_filter_has_as_data(client, library):
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    library.photo("b.jpg", (GATE, 0.9, True))
    page = client.get("/landmarks/eiffel-tower").text
    assert tiles_of(page) == [1]
    assert "Paris" in page
    page = client.get(address_of(page, "Filter")).text
    for name in ("Export as CSV", "Export as GeoJSON"):
        answer = client.get(address_of(page, name))
        assert answer.status_code == 200
        assert "a.jpg" in answer.text
        assert "b.jpg" not in answer.text
    assert client.get("/landmarks/no-such").status_code == 404


def test_links_alone_lead_through_all_photos(client, library):
    for n in range(130):
        library.photo(f"{n:03}.jpg", (EIFFEL, 0.9, True), digest=f"picture {n // 2}")
    for begin in ("/photos", "/photos?country=france"):
        seen, address = [], begin
        while True:
            page = client.get(address).text
            seen += tiles_of(page)
            if "Next page" not in page:
                break
            address = address_of(page, "Next page")
        # Exact copies are one photo; in a country, copies may be at different places.
        assert seen == list(range(1, 131, 2)), begin
        assert address_of(page, "First page") == begin


def test_photos_are_under_their_days_with_score_and_date(client, library):
    library.photo("old.jpg", (EIFFEL, 0.9, True), taken_at=datetime(2023, 12, 31, 23, 59))
    library.photo("b.jpg", (EIFFEL, 0.83, True), taken_at=datetime(2024, 6, 3, 14, 5))
    library.photo("undated.jpg", (EIFFEL, 0.99, True))
    for name in ("a.jpg", "copy.jpg"):
        library.photo(name, (EIFFEL, 0.6, True), taken_at=datetime(2024, 6, 4), digest="same")
    page = client.get("/landmarks/eiffel-tower").text
    assert tiles_of(page) == [4, 2, 1, 3]
    assert re.findall(r"<h2>(.*?)</h2>", page) == [
        "3\N{EN DASH}4 June 2024",
        "Sun, 31 December 2023",
        "No date",
    ]
    assert "Eiffel Tower 83% · 3 June 2024, 14:05" in page
    assert page.count('2<span class="visually-hidden"> copies</span>') == 1
    oldest = client.get("/photos?landmark=eiffel-tower&sort=oldest").text
    assert tiles_of(oldest) == [1, 2, 4, 3]
    by_name = client.get("/photos?landmark=eiffel-tower&sort=name").text
    assert (tiles_of(by_name), re.findall(r"<h2>.*(?:June|December)", by_name)) == ([4, 2, 1, 3], [])
    assert client.get("/photos?sort=size").status_code == 400


def test_the_photos_that_were_added_last_come_first_without_headings_of_days(client, library):
    for day in (3, 1, 2):
        library.photo(f"{day}.jpg", (EIFFEL, 0.9, True), taken_at=datetime(2024, 6, day))
    all_photos = client.get("/").text
    recent = address_of(all_photos, "Recently added")
    assert recent == "/photos?any_rank=1&sort=added"
    page = client.get(recent).text
    assert (tiles_of(page), "June 2024</h2>" in page) == ([3, 2, 1], False)
    assert address_of(page, "Remove filter recently added") == "/photos?any_rank=1"
    assert ">Recently added</a>" not in page
    for text in ("recently added", "zuletzt hinzugefügt", "not recently added"):
        sent = client.get("/search", params={"q": text}, follow_redirects=False)
        found = sent.headers.get("location", "").startswith("/photos?sort=added&any_rank=1&q=")
        assert found == ("not" not in text), text


def test_photos_have_ticks_and_phones_small_thumbnails(client, library):
    library.photo("a.jpg", (EIFFEL, 0.9, True), digest="seen")
    library.photo("b.jpg", (EIFFEL, 0.8, True))
    library.verdict("seen", EIFFEL, "confirmed")
    for address in ("/photos", "/landmarks/eiffel-tower", "/photos?any_rank=1"):
        assert client.get(address).text.count('<span class="visually-hidden"> confirmed</span>') == 1, address
    photos = client.get("/api/timeline/photos?month=none").json()["photos"]
    assert {photo["file"]: photo["confirmed"] for photo in photos} == {"a.jpg": True, "b.jpg": False}
    for number in range(14):
        library.photo(f"{number}.jpg", (EIFFEL, 0.9, True))
    first, *_, last = re.findall('<img src="/api/photos[^>]+>', client.get("/photos").text)
    width = re.search(r"size=256\S* (\d+)w", first)
    assert width
    assert f'sizes="(max-width: 37.5rem) {int(width[1]) // 3}px' in first
    assert 'fetchpriority="high"' in first
    assert 'loading="lazy"' in last


def test_every_filter_is_in_the_panel_and_stays_in_the_address(client, library):
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
    panel = panel_of(client, page)
    for name in options:
        assert f'name="{name}"' in panel
    assert "min_score=0.8" in address_of(page, "Export as CSV")
    without = client.get(address_of(page, "Remove filter score from 80")).text
    assert tiles_of(without) == [2, 1]


def test_the_panel_has_numbers_and_what_is_chosen(client, library):
    phone = library.camera("Google", "Pixel 8")
    library.photo("x/a.jpg", (EIFFEL, 0.9, True), taken_at=datetime(2026, 1, 2), camera_id=phone)
    library.photo("x/y/b.jpg", (EIFFEL, 0.9, True), taken_at=datetime(2025, 1, 2))
    library.photo("c.jpg", (GATE, 0.9, True), taken_at=datetime(2026, 5, 2))
    panel = client.get(
        "/photos/filter?camera=pixel+8&taken_after=2026-01-01&taken_before=2027-01-01&sort=name"
    ).text
    assert choices_of(panel, "landmark") == {"Eiffel Tower": "1"}
    assert (checked(panel, "year"), checked(panel, "camera")) == (["2026"], ["Google Pixel 8"])
    assert 'type="hidden" name="sort" value="name"' in panel
    params = {"landmark": ["", GATE], "year": ["2025", "2026"], "which": "", "sort": "name", "camera": ""}
    sent = client.get("/photos", params=params)
    assert sent.headers["location"] == f"/photos?landmark={GATE}&year=2025&year=2026&sort=name"
    page = client.get("/photos?taken_after=2025-01-01&taken_before=2026-01-01").text
    assert tiles_of(page) == [2]
    assert address_of(page, "Remove filter 2025") == "/photos"
    page = client.get(f"/photos?landmark={EIFFEL}&landmark={GATE}&year=2026&country=France").text
    assert address_of(page, "Remove filter Eiffel Tower") == (
        f"/photos?landmark={GATE}&country=France&year=2026"
    )
    inside = client.get("/photos/filter", params={"under": str(library.root / "x" / "y")}).text
    assert choices_of(inside, "under") == {"x": "2", "y": "1"}
    assert checked(inside, "under") == [str(library.root / "x" / "y")]
    nothing = client.get("/photos/filter?country=Germany&landmark=eiffel-tower").text
    assert choices_of(nothing, "country") == {"Germany": "0", "France": "2"}
    assert choices_of(nothing, "landmark")["Eiffel Tower"] == "0"  # by name, as in its chip


def test_the_panel_says_of_how_many_photos_its_numbers_are(client, library, monkeypatch):
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    assert "There are many photos" not in client.get("/photos/filter").text
    monkeypatch.setattr(facets, "MOST_READ", 1)
    panel = client.get("/photos/filter?any_rank=1").text
    assert "is of the 50,000 photos that were added last" in panel


def test_the_panel_counts_photos_with_accepted_landmarks(client, library):
    library.photo("a.jpg", (EIFFEL, 0.9, True), (GATE, 0.05, False))
    library.photo("b.jpg", (EIFFEL, 0.2, False), (GATE, 0.1, False))
    library.photo("x/c.jpg", classified=False)
    panel = client.get("/photos/filter?any_rank=1").text
    assert choices_of(panel, "landmark") == {"Eiffel Tower": "1"}
    numbers = {"With a landmark": "1", "All photos": "2", "Unknown": "1", "Not processed": "1"}
    for query in ("", "?any_rank=1", "?untagged=1"):
        assert choices_of(client.get(f"/photos/filter{query}").text, "which") == numbers
    of_folder = client.get("/photos/filter", params={"under": str(library.root / "x")}).text
    assert choices_of(of_folder, "which") == {"With a landmark": "0", "Not processed": "1"}
    for option, value in (("landmark", EIFFEL), ("country", "France")):
        of_place = client.get(f"/photos/filter?{option}={value}&any_rank=1").text
        assert choices_of(of_place, "which") == {}  # candidates are no choice, and have no number
        sent = client.get("/photos", params={option: value, "which": "any_rank"})
        assert tiles_of(client.get(sent.headers["location"]).text) == [1]
    everything = client.get(f"/photos?landmark={GATE}&any_rank=1").text
    assert sorted(tiles_of(everything)) == [1, 2]  # by its address, as in `tagger query`


def test_without_the_last_landmark_or_country_all_classified_photos_are_left(client, library):
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    for query, label, rest in (
        ("country=France&sort=name", "France", "sort=name&any_rank=1"),
        ("landmark=eiffel-tower&country=France", "France", "landmark=eiffel-tower"),
        ("country=France&unknown=1", "France", "unknown=1"),
    ):
        page = client.get(f"/photos?{query}").text
        assert address_of(page, f"Remove filter {label}") == f"/photos?{rest}"
        panel = panel_of(client, page)
        hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', panel))
        which = [*checked(panel, "which"), *([hidden["which"]] if "which" in hidden else [])]
        is_same = client.get("/photos", params={**parse_qs(rest), "which": which or ""}).headers["location"]
        assert parse_qs(urlsplit(is_same).query) == parse_qs(rest)


@pytest.mark.usefixtures("counted")
def test_photos_leads_to_those_that_are_not_classified(client, library):
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    library.photo("b.jpg", classified=False)
    library.photo("c.jpg", classified=False)
    library.photo("d.jpg", classified=False, failure_kind="damaged")
    page = client.get("/photos?any_rank=1").text
    assert tiles_of(page) == [1]
    waiting = client.get(address_of(page, "2 photos are not processed yet")).text
    failed = client.get(address_of(page, "1 photo failed")).text
    assert (sorted(tiles_of(waiting)), tiles_of(failed)) == ([2, 3], [4])
    assert "data-unclassified" not in waiting + failed
    nothing = client.get("/photos?min_score=0.99").text
    assert "No matching photos" in nothing
    assert address_of(nothing, "1 photo failed") == "/photos?failed=1"
    assert "No favourites yet" in client.get("/photos?favourite=1").text
    searched = client.get("/photos?untagged=1&year=1999").text
    assert "No matching photos" in searched
    assert "Not searched" not in searched


@pytest.mark.usefixtures("counted")
def test_more_unclassified_photos_than_are_counted_are_said_to_be_more(client, library):
    row = {"root_id": library.root_id, "path_bytes": b"", "size_bytes": 1000, "mtime_ns": 1}
    execute(library.database, insert(photos), [row | {"path": f"{n}.jpg"} for n in range(1001)])
    assert "More than 999 photos are not processed yet" in client.get("/photos?any_rank=1").text


@pytest.mark.usefixtures("counted")
def test_before_a_photo_is_classified_or_has_a_landmark_lists_say_so(client, library):
    library.photo("a.jpg", classified=False)
    page = client.get("/photos?any_rank=1").text
    assert "No photo is processed yet" in page
    assert address_of(page, "1 photo is not processed yet") == "/photos?untagged=1"
    assert (
        address_of(client.get("/photos?unknown=1").text, "1 photo is not processed yet")
        == "/photos?untagged=1"
    )
    library.photo("b.jpg", (EIFFEL, 0.2, False))
    page = client.get("/photos").text
    assert "No photo with a landmark yet" in page
    assert address_of(page, "all photos") == "/"


@pytest.mark.usefixtures("counted")
def test_all_classified_photos_are_no_filter(client, library):
    library.photo("a.jpg", (EIFFEL, 0.9, True), taken_at=datetime(2026, 1, 2))
    page = client.get("/photos?any_rank=1&sort=oldest").text
    assert "Remove filter" not in page
    assert "data-unclassified" not in page
    assert address_of(client.get("/photos").text, "Remove filter with a landmark") == "/photos?any_rank=1"
    one = client.get("/photos?any_rank=1&min_score=0.5").text
    assert address_of(one, "Remove filter score from 50") == "/photos?any_rank=1"
    assert "Clear all" not in one
    two = client.get("/photos?any_rank=1&min_score=0.5&year=2026").text
    assert address_of(two, "Clear all") == "/"
    assert "all photos" not in two


def test_a_long_list_of_the_filter_shows_its_first_choices_and_the_number_of_others(client, library):
    for n in range(203):
        camera = library.camera(model=f"Camera {n}") if n < 11 else None
        library.photo(f"{n:03}/a.jpg", (EIFFEL, 0.9, True), camera_id=camera)
    panel = client.get("/photos/filter").text
    assert rest_of(panel) == ["3 more", "195 more"]
    assert "3 are not listed: set other filters to see them." in panel
    assert (len(choices_of(panel, "camera")), len(choices_of(panel, "under"))) == (11, 200)


def test_a_choice_of_a_long_list_is_among_the_first_and_the_rest_stays_folded(client, library):
    inside = [f"in-{n:02}" for n in range(12)]
    for n, name in enumerate(inside):
        library.photo(f"{n:02}/a.jpg", (EIFFEL, 0.9, True))
        library.photo(f"10/{name}/a.jpg", (EIFFEL, 0.9, True))
    folders = client.get("/photos/filter", params={"under": str(library.root / "10")}).text
    assert 'class="filter-rest" open' not in folders
    assert rest_of(folders) == ["4 more in 10", "3 more"]
    first = re.sub(r'<details class="filter-rest.*?</details>', "", folders, flags=re.DOTALL)
    assert list(choices_of(first, "under"))[8:] == ["10", *inside[:8]]
    assert list(choices_of(folders, "under"))[8:] == ["10", *inside, "08", "09", "11"]


def rest_of(panel: str) -> list[str]:
    """What the summaries of folded choices say: how many more, and where."""
    return re.findall(r'id="rest=.*?<span>(.*?)</span>', panel, re.DOTALL)


def choices_of(panel: str, option: str) -> dict[str, str | None]:
    labels = re.findall(r'<label[^>]*><input[^>]* name="(\w+)"[^>]*><span>(.*?)</span>(.*?)</label>', panel)
    numbers = {name: re.search(r"(\d+)\+?<", rest) for field, name, rest in labels if field == option}
    return {unescape(name): match[1] if match else None for name, match in numbers.items()}


def checked(panel: str, option: str) -> list[str]:
    inputs = re.findall(r'<input type="(?:radio|checkbox)" name="(\w+)" value="([^"]*)" checked', panel)
    return [unescape(value) for name, value in inputs if name == option]


@pytest.mark.parametrize(
    ("typed", "texts"),
    [
        ("taken_after=2026-01-31", ["with a landmark", "from 31 January 2026"]),
        ("taken_after=2026-01-31T12:30", ["with a landmark", "from 2026-01-31T12:30"]),
        ("taken_after=soon", ["with a landmark", "from soon"]),
        ("min_score=much", ["with a landmark", "score from much"]),
        ("near=0,-30&radius_km=0.05", ["within 50 m of 0, -30"]),
        ("near=48.858,2.294&radius_km=2000", ["within 2,000 km of 48.858, 2.294"]),
        ("near=north", ["north"]),
        ("box=43.7,7.27,43.7,7.27&position=neighbour", ["in Nice", "position: estimated"]),
        ("box=45.758,4.83,45.772,4.844&any_rank=1", ["in Lyon"]),
        ("box=45.2,4.2,46.3,5.4&any_rank=1", ["around Lyon"]),
        ("box=-40.1,-30.1,-40,-30&any_rank=1", ["area of 8.5 km by 11 km around -40.05, -30.05"]),
        ("box=-18,177,-17,-179", ["area of 424 km by 111 km around -17.5, 179"]),
        (f"trip={TRIP}", ["trip Paris, 3\N{EN DASH}5 May 2019"]),
    ],
)
def test_a_chip_has_its_filter_in_words(client, library, typed, texts):
    add_trip(library)
    assert re.findall(r"Remove filter ([^<]*)<", client.get(f"/photos?{typed}").text) == texts


def test_wrong_filters_are_answered_with_what_to_do_and_what_was_typed_is_text(client, library):
    for query, output in (
        ("landmark=Eifel+Tower", "Did you mean Eiffel Tower"),
        ("near=Paris", "is not a position"),
        ("under=2003", "is not a folder"),
        ("contry=France", "unknown option contry; valid options: landmark, country, thing"),
        ("after=nonsense", "Open the first page again"),
        ("unknown=1&min_score=0.5", "cannot be combined"),
    ):
        page = client.get(f"/photos?{query}")
        assert page.status_code == 400
        assert output in page.text
        if query.startswith(("contry", "after")):
            continue
        assert output in panel_of(client, page.text)
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    for path in ("/places", "/search", "/photos"):
        page = client.get(path, params={"q": HOSTILE, "country": HOSTILE, "near": HOSTILE}).text
        assert "<img src=x" not in page, path


def test_while_covers_are_chosen_the_places_are_there_and_ask_again(client, library):
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    may_end = threading.Event()
    overview = client.app.state.app_state.overview
    overview.covers = CachedQuery(lambda: may_end.wait(30) and None)
    page = client.get("/places").text
    assert "1 photo<" in page
    assert "Choosing covers" in page
    assert 'hx-trigger="load delay:1s, outdated"' in page
    overview.covers = CachedQuery(dict, None, 30.0)
    assert 'hx-trigger="every 5s, outdated"' in client.get("/places").text
    may_end.set()
