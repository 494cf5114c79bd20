"""Things on the page: under Places, at a photo, in searches and filters, and their switch."""

import re

import pytest
from sqlalchemy import insert, select
from starlette.testclient import TestClient
from support.artifacts import tiny_artifact
from support.library_photos import EIFFEL, picture
from support.page_server import tiles_of

from tagger.database.tables import contents, image_things, thing_labels
from tagger.model.artifact import Label
from tagger.registry import add_model, use_models
from tagger.tags.models_in_use import names_in_use
from tagger.web import state as overview

LABELS = (
    Label(label="dog", slug="dog", name="Dog", names={"de": "Hund"}, parent="animal"),
    Label(label="animal", slug="animal", name="Animal", names={"de": "Tier"}),
)

pytestmark = pytest.mark.usefixtures("counted")


@pytest.fixture
def dog(library, tmp_path) -> int:
    """A photo of the tower, and one of which somebody says that it shows a dog."""
    tiny_artifact(tmp_path / "objects.pt", LABELS, name="objects", kind="things")
    objects = add_model(library.database, tmp_path / "objects.pt")
    use_models(library.database, [library.model.name, objects.name])
    library.file("tower.jpg", (EIFFEL, 0.9, True))
    return library.file("dog.jpg", (EIFFEL, 0.1, False), data=picture((0, 0, 200)))


def say(client: TestClient, dog: int, verdict: str = "confirmed") -> None:
    body = {"photos": [dog], "landmark": "thing:dog", "verdict": verdict}
    assert client.post("/api/verdicts", json=body).json()["name"] == "Dog"


def test_things_are_beside_places_and_lead_to_their_photos(client, dog):
    say(client, dog)
    page = client.get("/places/things").text
    assert re.findall(r'href="/photos\?any_rank=1&amp;thing=(\w+)"', page) == ["animal", "dog"]
    photos = client.get("/photos?any_rank=1&thing=animal").text
    assert tiles_of(photos) == [dog]
    german = client.get("/photos?any_rank=1&thing=dog", headers={"Accept-Language": "de"}).text
    assert "Hund" in german
    assert 'data-thing="Animal"' in photos  # as what a selection is rejected
    assert re.search(
        r'name="thing" value="dog" id="thing=dog"><span>Dog<', client.get("/photos/filter?any_rank=1").text
    )


def test_a_photo_says_what_else_it_shows_and_takes_verdicts(client, dog):
    say(client, dog)
    page = client.get(f"/photos/{dog}/details").text
    assert re.search(r'Shows: <a href="/photos\?any_rank=1&amp;thing=thing%3Adog">Dog</a>', page)
    assert re.search(r'data-landmark="thing:dog" data-name="Dog" data-state="confirmed"', page)
    assert client.get(f"/api/photos/{dog}").json()["things"] == [
        {"thing": "dog", "name": "Dog", "score": None, "verdict": "confirmed"}
    ]
    say(client, dog, "rejected")
    page = client.get(f"/photos/{dog}/details").text
    assert 'data-landmark="thing:dog" data-name="Dog" data-state="rejected"' in page
    assert "%3Adog" not in page.partition("<details")[0]


def test_a_search_for_a_thing_leads_to_its_photos(client, dog):
    say(client, dog)
    german = {"Accept-Language": "de"}
    found = str(client.get("/search?q=hund", headers=german).headers)
    assert "/photos?thing=dog&q=hund" in found
    photos = client.get("/photos?thing=dog&q=hund", headers=german).text
    assert tiles_of(photos) == [dog]
    assert (
        client.get("/api/search?q=hun", headers={**german, "HX-Request": "true"}).json()[0]["label"] == "Hund"
    )


def test_a_card_follows_a_verdict_at_once(client, dog, monkeypatch):
    monkeypatch.setattr(overview, "COST_FACTOR", 1e9)
    say(client, dog)
    assert "thing=dog" in client.get("/places/things").text
    say(client, dog, "rejected")
    assert "thing=dog" not in client.get("/places/things").text


def test_the_model_of_things_is_turned_on_with_a_job_and_off(client, library, web_database, monkeypatch):
    monkeypatch.setattr(overview, "COST_FACTOR", 1e9)
    library.file("tower.jpg", (EIFFEL, 0.9, True))
    use_models(web_database, [library.model.name])
    assert "Find things" in client.get("/places/things").text
    assert "Find things" in client.get("/search?q=dog").text
    turned = client.post("/places/things", data={"on": "true"}, follow_redirects=False)
    assert re.fullmatch(r"/jobs/\d+", turned.headers["location"])
    assert names_in_use(web_database) == ["tiny", "things"]
    assert "Turn off" in client.get("/places/things").text
    # Its cards follow the switch.
    with web_database.write() as connection:
        of_things = select(thing_labels.c.model_id, thing_labels.c.thing).limit(1)
        row = connection.execute(of_things).one()
        content = connection.scalar(select(contents.c.id))
        values = {"content_id": content, "model_id": row.model_id, "thing": row.thing, "score": 0.9}
        connection.execute(insert(image_things).values(values))
    for switch, models in (("false", ["tiny"]), ("true", ["tiny", "things"])):
        client.post("/places/things", data={"on": switch})
        assert names_in_use(web_database) == models
        is_shown = f"thing={row.thing}" in client.get("/places/things").text
        assert is_shown is (switch == "true")
