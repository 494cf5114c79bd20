"""Making and revoking links on the page: of a landmark, a trip, and selected photos."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import update
from starlette.testclient import TestClient
from support.browser import PHONE, axe_findings, open_page
from support.library_photos import EIFFEL, GATE, LibraryPhotos, picture
from support.page_server import TOKEN
from support.trip_photos import TRIP, add_trip

from tagger.database.connection import Database
from tagger.database.tables import shares
from tagger.people.tokens import add_token
from tagger.query.trip_summaries import trip_summary
from tagger.settings import Settings
from tagger.shares import TRIP_MOMENT, ShareState, list_shares
from tagger.trips.stored import find_trip, rename_trip

ClientOf = Callable[..., TestClient]
DATES = "3\N{EN DASH}5 May 2019"
TITLE = "Our tower as we saw it on the last evening, from the other side of the river"

pytestmark = pytest.mark.usefixtures("shared_thumbnails")


@pytest.fixture
def library(library: LibraryPhotos) -> LibraryPhotos:
    for n in range(5):
        library.file(f"photo-{n}.jpg", (EIFFEL, 0.8, True), data=picture((30 * n, 120, 200 - 20 * n)))
    add_trip(library)
    return library


def open_share(page: Page) -> None:
    page.locator(".page-tools summary", has_text="More").click()
    page.get_by_role("button", name="Share…").click()


def link_made_on(page: Page) -> str:
    page.get_by_role("button", name="Make a link").click()
    copy = page.get_by_role("button", name="Copy the link")
    expect(copy).to_be_focused()
    return page.get_by_label("Link", exact=True).input_value()


def test_a_landmark_and_a_trip_are_shared_and_a_link_revoked(
    browser: Browser, address: str, web_database: Database
) -> None:
    with open_page(browser, f"{address}/landmarks/{EIFFEL}", screen=PHONE) as page:
        open_share(page)
        dialog = page.get_by_role("dialog", name="Share Eiffel Tower")
        expect(dialog.get_by_label("Title for visitors")).to_be_focused()
        assert axe_findings(page) == []
        dialog.get_by_label("Title for visitors").fill(TITLE)
        dialog.get_by_label("The link ends").select_option("never")
        dialog.get_by_label("Show where photos were taken").check()
        link = link_made_on(page)
        assert link.startswith(f"{address}/s/")
        expect(dialog).to_contain_text("It works only on this computer")
        expect(dialog.get_by_role("listitem")).to_contain_text(f"{TITLE}: Eiffel Tower")
        expect(dialog.get_by_role("listitem")).to_contain_text("for ever, with positions")
        assert axe_findings(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert dialog.evaluate("(e) => e.scrollWidth <= e.clientWidth")
        close, revoke = (
            dialog.get_by_role("button", name=name).bounding_box() for name in ("Close", "Revoke")
        )
        assert close
        assert revoke
        assert revoke["x"] + revoke["width"] <= close["x"] + close["width"]
        dialog.get_by_role("listitem").get_by_role("button", name="Copy").click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        expect(page.get_by_label("Link", exact=True)).to_have_value(link)
        visit = page.request.get(link)
        assert visit.ok
        assert TITLE in visit.text()
        dialog.get_by_role("button", name="Revoke the link").click()
        expect(dialog).to_contain_text(f"{TITLE}: revoked")
        assert page.request.get(link).status == 410
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        page.goto(f"{address}/trips/{TRIP}")
        open_share(page)
        assert page.request.get(link_made_on(page)).text().count("data-photo=") == 9
    of_trip, share = list_shares(web_database)
    assert (share.state, share.options, share.expires_at) == (ShareState.REVOKED, {"landmark": EIFFEL}, None)
    assert of_trip.options == {"trip": TRIP}
    assert of_trip.name == DATES


def test_the_title_of_a_trip_names_its_place_only_for_visitors_who_see_places(
    browser: Browser, address: str
) -> None:
    with open_page(browser, f"{address}/trips/{TRIP}", screen=PHONE) as page:
        open_share(page)
        title, positions = page.get_by_label("Title for visitors"), page.get_by_label("Show where photos")
        expect(page.get_by_role("heading", name="Share Paris")).to_be_visible()
        expect(title).to_have_value(DATES)
        expect(positions).to_have_accessible_description(re.compile("no positions, cities or countries"))
        positions.check()
        expect(title).to_have_value(f"Paris, {DATES}")
        positions.uncheck()
        expect(title).to_have_value(DATES)
        title.fill("For Ada")
        positions.check()
        expect(title).to_have_value("For Ada")


@pytest.mark.slow
def test_the_dialog_says_that_the_whole_library_is_shared(
    browser: Browser, address: str, web_database: Database
) -> None:
    with open_page(browser, f"{address}/photos?any_rank=1", screen=PHONE) as page:
        page.locator("[data-grid][data-drawn]").wait_for()
        sections = page.request.get(f"{address}/api/timeline?any_rank=1").json()
        photos = f"{sum(section['photos'] for section in sections)} photos"
        open_share(page)
        dialog = page.get_by_role("dialog", name=f"Share all {photos}?")
        expect(dialog).to_contain_text(f"Now these are {photos}")
        link_made_on(page)
        expect(dialog.get_by_role("listitem")).to_contain_text("Photos: all photos")
    (share,) = list_shares(web_database)
    assert share.options == {"any_rank": True}


def test_all_links_say_who_made_them_and_are_shown_again(
    client_of: ClientOf, library: LibraryPhotos, web_settings: Settings
) -> None:
    client = client_of("0.0.0.0", TOKEN)
    _, secret = add_token(library.database, "phone")
    bearer = {"authorization": f"Bearer {secret}"}
    made = client.post(f"/api/shares?landmark={EIFFEL}", json={"expires_days": 7}, headers=bearer).json()
    (listed,) = client.get("/api/shares", headers=bearer).json()
    assert (listed["author"], listed["description"], listed["photos"]) == (
        "web phone",
        "Eiffel Tower",
        None,
    )
    assert listed["link"] == made["link"]
    (web_settings.data_folder / "links.key").write_bytes(bytes(32))  # of another data folder
    assert client.get("/api/shares", headers=bearer).json()[0]["link"] is None
    assert client.get(made["link"]).status_code == 303


def test_what_cannot_be_shared_is_refused(
    client: TestClient, library: LibraryPhotos, web_database: Database
) -> None:
    for options, body, status in (
        ("", {}, 400),
        (f"landmark={EIFFEL}", {"photos": [1]}, 400),
        ("", {"photos": []}, 400),
        ("", {"photos": [10**6]}, 404),
        ("trip=2001-01-01-rome", {}, 404),
        ("job=1", {}, 400),
        ("unknown=1&untagged=1", {}, 400),
        ("share=1", {}, 422),
        ("limit=1", {}, 422),
        (f"landmark={EIFFEL}", {"landmark": EIFFEL}, 422),
        (f"landmark={EIFFEL}", {"expires_days": 0}, 422),
        (f"landmark={EIFFEL}", {"name": "a\nb"}, 422),
    ):
        assert client.post(f"/api/shares?{options}", json=body).status_code == status, (options, body)
    assert list_shares(web_database) == []
    assert client.delete("/api/shares/1").status_code == 404
    assert "data-share=" in client.get(f"/photos?landmark={EIFFEL}").text
    for query in ("", "?job=1"):
        assert "data-share=" not in client.get(f"/photos{query}").text


def test_the_shares_of_a_query_are_those_of_exactly_this_one(
    client: TestClient, library: LibraryPhotos
) -> None:
    queries = (f"landmark={EIFFEL}", "country=France", "country=France&taken_after=2019-01-01")
    made = [client.post(f"/api/shares?{query}&sort=name", json={}).json()["id"] for query in queries]
    made.append(client.post("/api/shares", json={"photos": [1]}).json()["id"])
    for query, number in zip((*queries, "selection=1"), made, strict=True):
        assert [share["id"] for share in client.get(f"/api/shares?{query}").json()] == [number]
    assert [share["id"] for share in client.get("/api/shares").json()] == made[::-1]
    assert client.get("/api/shares?country=Germany").json() == []


def test_a_link_is_described_in_the_words_of_the_filter(client: TestClient, library: LibraryPhotos) -> None:
    for options, description in (
        (f"landmark={GATE}&min_score=0.5", "Brandenburg Gate, score from 50%"),
        ("any_rank=1&year=2019", "all photos, 2019"),
        (f"landmark={EIFFEL}&any_rank=1", "Eiffel Tower, guesses too"),
        ("year=2019&under=/a/b", "with a landmark, 2019, in b"),
        ("taken_after=2019-01-01&taken_before=2020-01-01&position=track", "position: GPS track, 2019"),
        ("near=48.5,2.25&radius_km=5&verdict=none", "within 5 km of 48.5, 2.25, without a verdict"),
        ("unknown=1&taken_after=2019-02-01", "from 1 February 2019, unknown"),
        (f"trip={TRIP}", "trip Paris, 3\N{EN DASH}5 May 2019"),
    ):
        made = client.post(f"/api/shares?{options}", json={}).json()
        listed = client.get("/api/shares").json()[0]
        assert sorted(listed["description"].split(", ")) == sorted(description.split(", "))
        assert made["description"] == listed["description"]


def test_a_link_of_a_trip_does_not_have_the_name_of_another_one(
    client: TestClient, library: LibraryPhotos
) -> None:
    client.post(f"/api/shares?trip={TRIP}", json={})
    with library.database.write() as connection:
        options = {"trip": TRIP, TRIP_MOMENT: [99, "2019-05-04T12:00:00"]}
        connection.execute(update(shares).values(options=options))
    (listed,) = client.get("/api/shares").json()
    assert listed["description"] == f"trip {TRIP}"


def test_a_share_without_a_title_is_named_by_its_query_without_folders(
    client: TestClient, library: LibraryPhotos
) -> None:
    for options, name, name_with_positions in (
        (f"landmark={EIFFEL}&min_score=0.5", "Eiffel Tower", "Eiffel Tower"),
        (f"trip={TRIP}&country=france", DATES, f"Paris, {DATES}, France"),
        ("country=FRANCE&year=2020&year=2019", "2019, 2020", "France, 2019, 2020"),
        ("year=2019&under=/secret&year=2018&under=/other", "2018, 2019", "2018, 2019"),
        ("year=2016&year=2017&year=2018&year=2019&country=France", "Photos", "France"),
        ("taken_after=2019-02-01&taken_before=2020-02-01", "Photos", "Photos"),
        ("any_rank=1", "Photos", "Photos"),
    ):
        for with_positions, expected in ((False, name), (True, name_with_positions)):
            body = {"name": " ", "with_positions": with_positions}
            assert client.post(f"/api/shares?{options}", json=body).json()["name"] == expected


def test_the_title_of_a_trip_has_a_name_that_follows_from_no_position(
    client: TestClient, library: LibraryPhotos
) -> None:
    """That which a person gave it, or a landmark that most of its photos show."""
    with library.database.write() as connection:
        rename_trip(connection, find_trip(connection, TRIP), "Honeymoon")
    assert client.post(f"/api/shares?trip={TRIP}", json={}).json()["name"] == f"Honeymoon, {DATES}"
    trip = trip_summary(library.database, TRIP)
    of_landmark = replace(trip, trip=replace(trip.trip, given_name=None), photos=1)
    assert of_landmark.title_without_place == f"Eiffel Tower, {DATES}"
