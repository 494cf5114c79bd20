"""Trips on the page and in the API."""

import re
from datetime import datetime

from starlette.testclient import TestClient
from support.library_photos import EIFFEL, GATE, TRIP, add_trip
from support.page_server import LOCAL_URL, tiles_of


def trips_page(client: TestClient) -> str:
    while "Finding trips" in (page := client.get("/trips").text):
        pass
    return page


def test_without_photos_and_without_trips_the_page_says_what_to_do(client, library):
    assert "No photos yet" in client.get("/trips").text
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    page = trips_page(client)
    assert "No trips yet" in page
    assert "two days or more away from home" in page


def test_trips_are_listed_by_year_and_in_the_api(client, library):
    ids = add_trip(library)
    answer = client.get("/api/trips").json()
    assert answer == [client.get(f"/api/trips/{TRIP}").json()]
    assert [trip["trip"] for trip in answer] == [TRIP]
    assert client.get("/api/trips?taken_before=2019-05-03").json() == []
    assert [photo["id"] for photo in client.get(f"/api/photos?trip={TRIP}").json()["photos"]] == ids
    add_trip(library, datetime(2021, 7, 1, 9))  # noqa: DTZ001 - local time
    page = trips_page(client)
    assert re.findall(r'id="year-(\d+)"', page) == ["2021", "2019"]
    assert re.findall(r'href="(/trips/[^"]+)"', page) == ["/trips/2021-07-01-paris", f"/trips/{TRIP}"]
    assert "3\N{EN DASH}5 May 2019" in page
    assert "9 photos" in page
    assert f"/api/photos/{ids[4]}/thumbnail" in page


def test_a_trip_has_a_map_and_all_photos_in_order_of_time(client, library):
    library.photo("elsewhere.jpg", (GATE, 0.9, True))
    ids = add_trip(library)
    page = client.get(f"/trips/{TRIP}").text
    assert "<title>Paris, 3\N{EN DASH}5 May 2019 · landmark tagger</title>" in page
    assert tiles_of(page) == ids
    days = [f"{day} May 2019 · Paris" for day in ("Fri, 3", "Sat, 4", "Sun, 5")]
    assert re.findall(r'data-section="([^"]*)"><h2>([^<]*)<', page) == [
        ("2019-05-03", days[0]),
        ("2019-05-04", days[1]),
        ("2019-05-05", days[2]),
    ]
    (month,) = client.get(f"/api/timeline?trip={TRIP}&sort=oldest").json()
    assert [(part["first"], part["photos"]) for part in month["parts"]] == [
        ("2019-05-03", 3),
        ("2019-05-04", 4),
        ("2019-05-05", 2),
    ]
    assert f"/photos/{ids[0]}?trip={TRIP}&amp;within=1" in page
    assert f'data-path="/trips/{TRIP}/path"' in page
    assert f'href="/photos?trip={TRIP}&amp;landmark={EIFFEL}"' in page
    for photo, names in ((ids[0], ["Paris, 3\N{EN DASH}5 May 2019"]), (1, [])):
        facts = client.get(f"/photos/{photo}/details").text
        assert re.findall(r'<dt>Trip</dt><dd><a href="/trips/2019-05-03-paris">(.*?)</a>', facts) == names


def test_a_trip_that_does_not_exist_is_not_found(client):
    for address in ("/trips/2019-05-03-rome", "/trips/rome", "/api/trips/rome", "/api/photos?trip=rome"):
        assert client.get(address).status_code == 404
    for address in ("/api/trips?taken_after=May", "/photos?trip=2019-05-07-rome"):
        assert client.get(address).status_code == 400


def test_a_trip_is_renamed_split_and_merged_and_each_change_is_undone(client, library):
    ids = add_trip(library)
    add_trip(library, datetime(2019, 5, 20, 9))  # noqa: DTZ001 - local time

    def change(trip: str, **form: object) -> str:
        answer = client.post(f"/trips/edit/{trip}", data=form, headers={"origin": LOCAL_URL})
        page = client.get(answer.headers["location"])
        (title,) = re.findall(r"<title>(.*), [^,]* · landmark tagger</title>", page.text)
        return f"{title}, {len(tiles_of(page.text))}"

    def undo(trip: str) -> str:
        edit = re.findall(r'name="undo" value="(\d+)"', client.get(f"/trips/edit/{trip}").text)[0]
        return change(trip, undo=edit)

    assert change(TRIP, name=" Spring\n break ") == "Spring break, 9"
    add_trip(library, datetime(2021, 7, 1, 9))  # noqa: DTZ001 - trips are computed again
    assert "Spring break" in client.get("/trips").text
    assert [trip["name"] for trip in client.get("/api/trips").json()] == ["Paris", "Paris", "Spring break"]
    assert (undo(TRIP), change(TRIP, name="")) == ("Paris, 9", "Paris, 9")

    assert change(TRIP, day="2019-05-04") == "Paris, 6"
    assert tiles_of(client.get("/trips/2019-05-04-paris").text) == ids[3:]
    assert undo("2019-05-04-paris") == "Paris, 9"

    beside = re.findall(r'name="other" value="([^"]*)"', client.get(f"/trips/edit/{TRIP}").text)
    assert beside == ["2019-05-20-paris"]
    assert change(TRIP, other=beside[0]) == "Paris, 18"
    assert len(tiles_of(client.get(f"/trips/{beside[0]}").text)) == 18
    names = (f"Paris, {days} May 2019" for days in ("3\N{EN DASH}5", "20\N{EN DASH}22"))
    assert f"Merged: {' and '.join(names)}" in client.get(f"/trips/edit/{TRIP}").text
    edits = re.findall(r"name=\"undo\" value=\"(\d+)\"", client.get(f"/trips/edit/{TRIP}").text)
    assert change(TRIP, day="2019-05-20") == "Paris, 9"
    for form, reason in (
        ({"undo": edits[0]}, "Undo the later one first"),
        ({"other": "2021-07-01-paris"}, "there are more than 60 days between them"),
    ):
        refused = client.post(f"/trips/edit/{TRIP}", data=form, headers={"origin": LOCAL_URL})
        assert (refused.status_code, reason in refused.text) == (409, True)
    assert [undo(TRIP), undo(TRIP)] == ["Paris, 18", "Paris, 9"]
