"""Landmarks of people's own, and people's changes of any landmark, on both databases."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import update
from support.artifacts import LABELS, tiny_artifact
from support.databases import audit_entries

from tagger.database.connection import Database
from tagger.database.tables import landmarks
from tagger.errors import (
    LandmarkAmbiguous,
    LandmarkExists,
    LandmarkInvalid,
    LandmarkNotFound,
    NotFound,
)
from tagger.landmarks.edits import (
    EditedLandmark,
    NewLandmark,
    add_landmark,
    edit_landmark,
)
from tagger.landmarks.landmarks import Landmark, find_landmark
from tagger.model.artifact import Label
from tagger.query.counts import landmark_counts
from tagger.registry.registered_models import add_model

EIFFEL = "eiffel-tower"
LATER = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def database(database: Database, tmp_path: Path) -> Database:
    """With the landmarks of the tiny model."""
    tiny_artifact(tmp_path / "tiny.pt")
    add_model(database, tmp_path / "tiny.pt")
    return database


def add(database: Database, name: str, **facts: object) -> Landmark:
    return add_landmark(database, NewLandmark(name, **facts))  # type: ignore[arg-type]


def find(database: Database, name: str) -> Landmark:
    with database.read() as connection:
        return find_landmark(connection, name)


@pytest.mark.postgresql
def test_a_landmark_is_found_by_the_letters_that_people_type(database: Database) -> None:
    for name, texts in {
        "Łódź Manufaktura": ("lodz manufaktura", "ŁÓDŹ manufaktura"),
        "Ørsteds Park": ("orsteds park",),
        "Đà Lạt": ("da lat", "Ðà Lạt"),
        "Gemäldegalerie": ("gemaldegalerie",),
    }.items():
        added = add(database, name)
        assert [find(database, text) for text in texts] == [added] * len(texts)


def test_an_own_landmark_is_found_and_listed_without_photos(database: Database) -> None:
    added = add(
        database,
        "Frauenkirche",
        city="Dresden",
        country=" Germany ",
        region="",
        position=(51.0519, 13.7416),
        extent="point",
        aliases=("Church of Our Lady", "Frauenkirche", "Church of Our Lady"),
    )
    assert (added.slug, added.country, added.region) == ("frauenkirche", "Germany", None)
    assert added.aliases == ["Church of Our Lady"]
    assert find(database, "FRAUENKIRCHE") == find(database, "church of our lady") == added
    counts = {count.landmark: count.photos for count in landmark_counts(database, include_empty=True)}
    assert counts["frauenkirche"] == counts[EIFFEL] == 0
    entry = audit_entries(database)[0]
    assert (entry.action, entry.subject, entry.details["city"]) == ("landmark-add", "frauenkirche", "Dresden")


SPELLINGS = (
    "Old\u00a0Town Hall",
    "  old   TOWN  hall ",
    "Old\u202fTown\u2009Hall",
    "Old\u3000Town\u2007Hall",
    "Old-Town_Hall",
    "Old Town\u200b Hall\ufeff",
    "\u200eOld Town Hall\u200f",
)
"""One name: with the spaces and marks that come with copied texts."""


def test_spaces_of_any_kind_and_number_are_the_same_name(database: Database) -> None:
    added = add(database, "Old Town Hall")
    for spelling in SPELLINGS:
        assert find(database, spelling) == added
        with pytest.raises(LandmarkExists, match="old-town-hall"):
            add(database, spelling)


@pytest.mark.parametrize("name", ["Eiffel Tower", "eiffel-TOWER", "Eiffel\u200f Tower"])
def test_a_name_that_exists_is_refused_with_how_to_use_it(database: Database, name: str) -> None:
    with pytest.raises(LandmarkExists, match=r"belongs to Eiffel Tower .*use eiffel-tower"):
        add(database, name)


def test_names_of_an_accent_alone_are_different(database: Database) -> None:
    acute = add(database, "\u00b4")
    assert add(database, "\u00a8").slug != acute.slug
    assert find(database, "\u00b4").slug == acute.slug
    for empty in ("", " ", "--"):
        with pytest.raises(LandmarkNotFound):
            find(database, empty)


def test_an_alias_of_another_landmark_is_no_name_for_a_new_one(database: Database) -> None:
    add(database, "Frauenkirche", aliases=("Our Lady",))
    with pytest.raises(LandmarkExists, match="frauenkirche"):
        add(database, "our lady")


def test_the_same_name_in_another_country_needs_a_slug_of_its_own(database: Database) -> None:
    add(database, "Town Hall", country="Germany")
    with pytest.raises(LandmarkExists, match=r"Town Hall \(Germany\).*give the new one a slug"):
        add(database, "Town Hall", country="Austria")
    assert add(database, "Town Hall", slug="town-hall-austria", country="Austria").name == "Town Hall"


def test_a_slug_that_exists_is_refused(database: Database) -> None:
    with pytest.raises(LandmarkExists, match="eiffel-tower belongs to Eiffel Tower"):
        add(database, "My Tower", slug=EIFFEL)
    add(database, "St. Peter")
    with pytest.raises(LandmarkExists, match="st-peter"):
        add(database, "St Peter")


@pytest.mark.parametrize("alias", ["Eiffel Tower", "eiffel-tower", "", "a\nb"])
def test_an_alias_that_could_not_find_the_landmark_is_refused(database: Database, alias: str) -> None:
    with pytest.raises(LandmarkInvalid, match="alias"):
        add(database, "My Tower", aliases=(alias,))


# ---------- editing ----------


def edit(database: Database, slug: str, /, *, dry_run: bool = False, **changes: object) -> EditedLandmark:
    return edit_landmark(database, slug, changes, dry_run=dry_run)  # type: ignore[arg-type]


@pytest.mark.postgresql
def test_an_edit_changes_what_it_names_and_records_it(database: Database) -> None:
    add(database, "Frauenkirche", city="Berlin", position=(1, 2), aliases=("Old", "Our Lady"))
    result = edit(
        database,
        "frauenkirche",
        city="Dresden",
        position=None,
        add_aliases=["Kirche", "kirche"],
        remove_aliases=["OLD"],
        names={"en": "Church of Our Lady"},
    )
    landmark = find(database, "church of our lady")
    assert landmark == result.landmark
    assert (landmark.city, landmark.latitude, landmark.longitude) == ("Dresden", None, None)
    assert landmark.aliases == ["Our Lady", "Kirche", "kirche"]
    entry = audit_entries(database)[0]
    assert (entry.action, entry.details["changes"]["city"]) == ("landmark-edit", ["Berlin", "Dresden"])
    assert edit(database, "frauenkirche", city="", names={"en": None}).landmark.names == {}


@pytest.mark.postgresql
def test_an_edit_that_changes_nothing_has_no_entry(database: Database) -> None:
    before = len(audit_entries(database)[:100])
    assert edit(database, EIFFEL, city="Paris").changes == {}
    assert edit(database, EIFFEL, dry_run=True, city="Rome").changes == {"city": ("Paris", "Rome")}
    assert find(database, EIFFEL).city == "Paris"
    assert len(audit_entries(database)[:100]) == before


INVALID: list[tuple[dict[str, object], str]] = [
    ({"name": ""}, "name: it has no letter"),
    ({"name": "Brandenburg Gate", "country": "Germany"}, "has the name Brandenburg Gate already"),
    ({"names": {"German": "Turm"}}, "language"),
    ({"names": {"de": "brandenburg gate"}}, "finds Brandenburg Gate already"),
    ({"names": {"sv": None}}, "no name in the language sv"),
    ({"add_aliases": ["brandenburg-gate"]}, "finds Brandenburg Gate already"),
    ({"remove_aliases": ["La Dame"]}, "no alias La Dame"),
    ({"position": (0, 200)}, "position"),
    ({"extent": "blob"}, "extent"),
    ({"country": "a\nb"}, "country"),
]


@pytest.mark.postgresql
def test_an_invalid_edit_changes_nothing(database: Database) -> None:
    with database.write() as connection:
        connection.execute(update(landmarks).where(landmarks.c.slug == EIFFEL).values(country="Germany"))
    before = find(database, EIFFEL)
    for changes, reason in INVALID:
        with pytest.raises((LandmarkInvalid, NotFound), match=reason):
            edit(database, EIFFEL, **changes)
        assert find(database, EIFFEL) == before, changes


def test_the_slug_of_another_landmark_is_no_name(database: Database) -> None:
    edit(database, EIFFEL, name="La Dame de Fer")
    with pytest.raises(LandmarkInvalid, match="finds La Dame de Fer already"):
        edit(database, "brandenburg-gate", name="Eiffel-Tower")


@pytest.mark.postgresql
def test_the_same_name_may_be_given_in_another_country(database: Database) -> None:
    add(database, "Gate", country="India")
    assert edit(database, "gate", name="Brandenburg Gate").landmark.name == "Brandenburg Gate"
    with pytest.raises(LandmarkAmbiguous, match="brandenburg-gate, gate"):
        find(database, "brandenburg gate")


@pytest.mark.postgresql
def test_a_later_model_does_not_change_what_a_person_set(database: Database, tmp_path: Path) -> None:
    edit(database, EIFFEL, name="Tour Eiffel", position=(1, 2), names={"de": "Eiffelturm"}, city="Paris")
    facts = {"city": "Paname", "country": "France (new)", "names": {"de": "Eiffel-Turm"}}
    new = LABELS[0].model_copy(update={**facts, "latitude": 9, "longitude": 9})
    tiny_artifact(tmp_path / "new.pt", labels=(new, *LABELS[1:]), name="new", created_at=LATER)
    add_model(database, tmp_path / "new.pt")
    landmark = find(database, EIFFEL)
    assert (landmark.name, landmark.latitude, landmark.names["de"]) == ("Tour Eiffel", 1, "Eiffelturm")
    assert (landmark.city, landmark.country) == ("Paris", "France (new)")


def test_an_own_landmark_keeps_its_facts_when_a_model_learns_it(database: Database, tmp_path: Path) -> None:
    own = add(database, "My Tower", slug="my-tower", country="Utopia")
    assert own.own
    label = Label(
        label="9.Your_Tower", slug="my-tower", name="Your Tower", country="Atlantis", city="Poseidonis"
    )
    tiny_artifact(tmp_path / "later.pt", labels=(*LABELS, label), name="later", created_at=LATER)
    add_model(database, tmp_path / "later.pt")
    found = find(database, "my-tower")
    assert (found.id, found.own) == (own.id, False)
    assert (found.name, found.country, found.city) == ("My Tower", "Utopia", "Poseidonis")
