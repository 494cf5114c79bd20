"""Landmarks of people: added, changed, named, merged and removed, with what people decided about them."""

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update
from support.artifacts import LABELS, tiny_artifact
from support.colour_folders import EIFFEL, GATE
from support.databases import audit_entries, read_rows, read_scalars
from support.stored_photos import StoredPhotos

from tagger.database.connection import Database
from tagger.database.tables import contents, effective_tags, landmarks, verdicts
from tagger.errors import (
    Conflict,
    LandmarkAmbiguous,
    LandmarkExists,
    LandmarkInvalid,
    LandmarkNotFound,
    LandmarkOfModel,
    NotFound,
)
from tagger.landmarks import Landmark, find_landmark
from tagger.landmarks.edits import (
    EditedLandmark,
    MergedLandmark,
    NewLandmark,
    RemovedLandmarkDocument,
    add_landmark,
    edit_landmark,
    merge_landmark,
    remove_landmark,
)
from tagger.model.artifact import Label
from tagger.query.counts import landmark_counts
from tagger.query.find import find_tagged
from tagger.query.options import PhotoQuery
from tagger.registry import RegisteredModel, add_model
from tagger.tags.settlement import settle
from tagger.transfer import check_database
from tagger.verdicts.importing import import_verdicts, read_entries

LATER = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def model_database(database, tmp_path) -> Database:
    tiny_artifact(tmp_path / "tiny.pt")
    add_model(database, tmp_path / "tiny.pt")
    return database


def add(database: Database, name: str, **facts: object) -> Landmark:
    return add_landmark(database, NewLandmark(name, **facts))


def find(database: Database, name: str) -> Landmark:
    with database.read() as connection:
        return find_landmark(connection, name)


@pytest.mark.postgresql
def test_own_landmarks_are_found_by_the_letters_that_people_type(model_database):
    for name, texts in {
        "Łódź Manufaktura": ("lodz manufaktura", "ŁÓDŹ manufaktura"),
        "Ørsteds Park": ("orsteds park",),
        "Đà Lạt": ("da lat", "Ðà Lạt"),
        "Gemäldegalerie": ("gemaldegalerie",),
    }.items():
        added = add(model_database, name)
        assert [find(model_database, text) for text in texts] == [added] * len(texts)
    added = add(
        model_database,
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
    assert find(model_database, "FRAUENKIRCHE") == find(model_database, "church of our lady") == added
    counts = {count.landmark: count.photos for count in landmark_counts(model_database, include_empty=True)}
    assert counts["frauenkirche"] == counts[EIFFEL] == 0
    entry = audit_entries(model_database)[0]
    assert (entry.action, entry.subject, entry.details["city"]) == ("landmark-add", "frauenkirche", "Dresden")


# One name: with the spaces and marks that come with copied texts.
SPELLINGS = (
    "Old\u00a0Town Hall", "  old   TOWN  hall ", "Old\u202fTown\u2009Hall",
    "Old\u3000Town\u2007Hall", "Old-Town_Hall", "Old Town\u200b Hall\ufeff",
    "\u200eOld Town Hall\u200f",
)  # fmt: skip


def test_names_are_the_same_with_any_spaces_and_differ_by_an_accent_or_country(model_database):
    added = add(model_database, "Old Town Hall")
    for spelling in SPELLINGS:
        assert find(model_database, spelling) == added
        with pytest.raises(LandmarkExists, match="old-town-hall"):
            add(model_database, spelling)
    acute = add(model_database, "\u00b4")
    assert add(model_database, "\u00a8").slug != acute.slug
    assert find(model_database, "\u00b4").slug == acute.slug
    for empty in ("", " ", "--"):
        with pytest.raises(LandmarkNotFound):
            find(model_database, empty)
    add(model_database, "Gate", country="India")
    assert edit(model_database, "gate", name="Brandenburg Gate").landmark.name == "Brandenburg Gate"
    with pytest.raises(LandmarkAmbiguous, match="brandenburg-gate, gate"):
        find(model_database, "brandenburg gate")


REFUSED: list[tuple[str, dict[str, object], str]] = [
    *((name, {}, "belongs to Eiffel Tower .*use eiffel-tower") for name in ("Eiffel Tower", "eiffel-TOWER")),
    ("Eiffel\u200f Tower", {}, "belongs to Eiffel Tower .*use eiffel-tower"),
    ("our lady", {}, "frauenkirche"),
    ("Town Hall", {"country": "Austria"}, r"Town Hall \(Germany\).*give the new one a slug"),
    ("My Tower", {"slug": EIFFEL}, "eiffel-tower belongs to Eiffel Tower"),
    ("St Peter", {}, "st-peter"),
    *(("My Tower", {"aliases": (alias,)}, "alias") for alias in ("Eiffel Tower", "eiffel-tower", "", "a\nb")),
]


def test_names_slugs_and_aliases_that_exist_are_refused_with_what_to_do(model_database):
    add(model_database, "Frauenkirche", aliases=("Our Lady",))
    add(model_database, "Town Hall", country="Germany")
    add(model_database, "St. Peter")
    for name, facts, reason in REFUSED:
        kind = LandmarkInvalid if "aliases" in facts else LandmarkExists
        with pytest.raises(kind, match=reason):
            add(model_database, name, **facts)
    assert add(model_database, "Town Hall", slug="town-hall-austria", country="Austria").name == "Town Hall"


def edit(database: Database, slug: str, /, *, dry_run: bool = False, **changes: object) -> EditedLandmark:
    return edit_landmark(database, slug, changes, dry_run=dry_run)


@pytest.mark.postgresql
def test_an_edit_changes_what_it_names_and_records_it(model_database):
    add(model_database, "Frauenkirche", city="Berlin", position=(1, 2), aliases=("Old", "Our Lady"))
    result = edit(
        model_database,
        "frauenkirche",
        city="Dresden",
        position=None,
        add_aliases=["Kirche", "kirche"],
        remove_aliases=["OLD"],
        names={"en": "Church of Our Lady"},
    )
    landmark = find(model_database, "church of our lady")
    assert landmark == result.landmark
    assert (landmark.city, landmark.latitude, landmark.longitude) == ("Dresden", None, None)
    assert landmark.aliases == ["Our Lady", "Kirche", "kirche"]
    entry = audit_entries(model_database)[0]
    assert (entry.action, entry.details["changes"]["city"]) == ("landmark-edit", ["Berlin", "Dresden"])
    assert edit(model_database, "frauenkirche", city="", names={"en": None}).landmark.names == {}


def test_invalid_edits_change_nothing_and_idle_ones_have_no_entry(model_database):
    before = len(audit_entries(model_database)[:100])
    assert edit(model_database, EIFFEL, city="Paris").changes == {}
    assert edit(model_database, EIFFEL, dry_run=True, city="Rome").changes == {"city": ("Paris", "Rome")}
    assert find(model_database, EIFFEL).city == "Paris"
    assert len(audit_entries(model_database)[:100]) == before
    with model_database.write() as connection:
        connection.execute(update(landmarks).where(landmarks.c.slug == EIFFEL).values(country="Germany"))
    before = find(model_database, EIFFEL)
    for changes, reason in INVALID:
        with pytest.raises((LandmarkInvalid, NotFound), match=reason):
            edit(model_database, EIFFEL, **changes)
        assert find(model_database, EIFFEL) == before, changes
    edit(model_database, EIFFEL, name="La Dame de Fer")
    with pytest.raises(LandmarkInvalid, match="finds La Dame de Fer already"):
        edit(model_database, "brandenburg-gate", name="Eiffel-Tower")


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


def test_models_do_not_change_what_a_person_set(model_database, tmp_path):
    edit(
        model_database, EIFFEL, name="Tour Eiffel", position=(1, 2), names={"de": "Eiffelturm"}, city="Paris"
    )
    facts = {"city": "Paname", "country": "France (new)", "names": {"de": "Eiffel-Turm"}}
    new = LABELS[0].model_copy(update={**facts, "latitude": 9, "longitude": 9})
    tiny_artifact(tmp_path / "new.pt", labels=(new, *LABELS[1:]), name="new", created_at=LATER)
    add_model(model_database, tmp_path / "new.pt")
    landmark = find(model_database, EIFFEL)
    assert (landmark.name, landmark.latitude, landmark.names["de"]) == ("Tour Eiffel", 1, "Eiffelturm")
    assert (landmark.city, landmark.country) == ("Paris", "France (new)")
    own = add(model_database, "My Tower", slug="my-tower", country="Utopia")
    assert own.own
    label = Label(
        label="9.Your_Tower", slug="my-tower", name="Your Tower", country="Atlantis", city="Poseidonis"
    )
    tiny_artifact(tmp_path / "later.pt", labels=(*LABELS, label), name="later", created_at=LATER)
    add_model(model_database, tmp_path / "later.pt")
    found = find(model_database, "my-tower")
    assert (found.id, found.own) == (own.id, False)
    assert (found.name, found.country, found.city) == ("My Tower", "Utopia", "Poseidonis")


HILL, TOWER = "nameless-hill", "old-tower"
MONDAY = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


class Library(StoredPhotos):
    """Photos with tags of the tiny model, and the own landmark `old-tower`."""

    def __init__(self, database: Database, root: Path, model: RegisteredModel) -> None:
        add_landmark(database, NewLandmark("Old Tower", city="Paris", aliases=("The Tower",)))
        super().__init__(database, root, model)

    def give(self, digest: str, slug: str, verdict: str, at: datetime = MONDAY) -> None:
        with self.database.write() as connection:
            content_id = connection.scalar(select(contents.c.id).where(contents.c.digest == digest))
            landmark_id = find_landmark(connection, slug).id
            row = {"content_id": content_id, "landmark_id": landmark_id, "verdict": verdict}
            connection.execute(insert(verdicts).values(row | {"given_by": "ada", "given_at": at}))
            settle(connection, [content_id or 0])

    def verdicts(self) -> list[tuple[str, str, str]]:
        query = (
            select(contents.c.digest, landmarks.c.slug, verdicts.c.verdict)
            .select_from(verdicts.join(contents).join(landmarks))
            .order_by(contents.c.digest, landmarks.c.slug)
        )
        return [tuple(row) for row in read_rows(self.database, query)]

    def found(self, landmark: str) -> list[str]:
        query = PhotoQuery(landmark=landmark)
        return sorted(Path(photo.path).name for photo in find_tagged(self.database, query))

    def find(self, name: str) -> Landmark:
        return find(self.database, name)

    def slugs(self) -> set[str]:
        return set(read_scalars(self.database, select(landmarks.c.slug)))

    def merge(self, name: str, into: str) -> MergedLandmark:
        return merge_landmark(self.database, name, into)

    def remove(self, name: str, **options: bool) -> RemovedLandmarkDocument:
        return remove_landmark(self.database, name, **options)

    def problems(self) -> list[str]:
        return list(check_database(self.database))


def digest(number: int) -> str:
    return f"1-{number:064x}"


@pytest.fixture
def library(database, tmp_path) -> Library:
    return Library.with_tiny_model(database, tmp_path)


def test_verdicts_and_names_of_an_own_landmark_go_to_the_model_s(library):
    library.photo("a.jpg", (GATE, 0.9, True), digest=digest(1))
    library.photo("b.jpg", (EIFFEL, 0.9, True), digest=digest(2))
    library.give(digest(1), TOWER, "confirmed")
    library.give(digest(2), TOWER, "rejected")
    result = library.merge("old tower", "Eiffel Tower")
    assert (result.landmark.slug, result.verdicts, result.tags, result.replaced) == (EIFFEL, 2, 0, 0)
    assert library.verdicts() == [(digest(1), EIFFEL, "confirmed"), (digest(2), EIFFEL, "rejected")]
    assert library.found(EIFFEL) == library.found(TOWER) == library.found("the tower") == ["a.jpg"]
    assert TOWER not in library.slugs()
    entry = audit_entries(library.database)[0]
    assert (entry.action, entry.subject) == ("landmark-merge", TOWER)
    assert [entry.details[name] for name in ("into", "verdicts", "tags")] == [EIFFEL, 2, 0]
    assert library.problems() == []


def test_of_opposite_verdicts_the_newest_stays_and_the_other_is_in_the_audit_log(library):
    for number in range(1, 6):
        library.photo(f"{number}.jpg", digest=digest(number))
    newer = MONDAY + timedelta(days=1)
    library.give(digest(1), TOWER, "confirmed", newer)
    library.give(digest(1), EIFFEL, "rejected")
    library.give(digest(2), TOWER, "confirmed")
    library.give(digest(2), EIFFEL, "rejected", newer)
    library.give(digest(3), TOWER, "confirmed")
    library.give(digest(3), EIFFEL, "rejected")
    library.give(digest(4), TOWER, "confirmed", newer)
    library.give(digest(4), EIFFEL, "confirmed")
    result = library.merge(TOWER, EIFFEL)
    assert (result.verdicts, result.replaced) == (4, 3)
    assert library.verdicts() == [
        (digest(1), EIFFEL, "confirmed"),
        (digest(2), EIFFEL, "rejected"),
        (digest(3), EIFFEL, "rejected"),
        (digest(4), EIFFEL, "confirmed"),
    ]
    replaced = audit_entries(library.database)[0].details["replaced"]
    assert [(each["digest"], each["verdict"], each["by"]) for each in replaced] == [
        (digest(1), "rejected", "ada"),
        (digest(2), "confirmed", "ada"),
        (digest(3), "confirmed", "ada"),
    ]
    assert replaced[1]["at"] == MONDAY.isoformat()


def test_a_model_s_landmark_is_merged_into_an_own_one_and_found_by_the_model_as_that(library, tmp_path):
    library.photo("a.jpg", (EIFFEL, 0.9, True), (GATE, 0.1, False), digest=digest(1))
    library.give(digest(1), EIFFEL, "confirmed")
    result = library.merge(EIFFEL, TOWER)
    assert (result.verdicts, result.tags) == (1, 1)
    tower = result.landmark
    assert (tower.own, tower.merged_slugs, tower.country) == (False, [EIFFEL], "France")
    assert (tower.latitude, tower.city) == (48.8584, "Paris")
    assert library.found("Eiffel Tower") == ["a.jpg"]
    of_tower = select(effective_tags).where(effective_tags.c.landmark_id == tower.id)
    assert [(row.rank, row.accepted) for row in read_rows(library.database, of_tower)] == [(1, True)]
    assert library.problems() == []
    with pytest.raises(LandmarkOfModel):
        library.remove(TOWER)
    # The same file and another model with the label mean the merged landmark.
    add_model(library.database, tmp_path / "tiny.pt")
    tiny_artifact(tmp_path / "new.pt", name="new", seed=1, created_at=LATER)
    add_model(library.database, tmp_path / "new.pt")
    assert EIFFEL not in library.slugs()
    assert library.find(EIFFEL).name == "Old Tower"
    assert library.problems() == []


@pytest.mark.postgresql
def test_landmarks_of_two_models_are_merged_until_a_model_tells_them_apart(library, tmp_path):
    label = Label(label="0.Tour_Eiffel", slug="tour-eiffel", name="Tour Eiffel")
    tiny_artifact(tmp_path / "french.pt", labels=(label,), name="french")
    french = add_model(library.database, tmp_path / "french.pt")
    library.landmark_ids["tour-eiffel"] = library.find("tour-eiffel").id
    library.photo("a.jpg", ("tour-eiffel", 0.8, True), digest=digest(1), model=french)
    library.photo("b.jpg", (EIFFEL, 0.8, True), digest=digest(2))
    assert library.merge("tour-eiffel", EIFFEL).tags == 1
    assert library.found(EIFFEL) == ["a.jpg", "b.jpg"]
    assert library.problems() == []
    tiny_artifact(tmp_path / "both.pt", labels=(*LABELS, label), name="both", created_at=LATER)
    add_model(library.database, tmp_path / "both.pt")
    assert library.find("tour-eiffel").slug == "tour-eiffel"
    assert library.find(EIFFEL).merged_slugs == []
    assert library.found(EIFFEL) == ["a.jpg", "b.jpg"]
    assert library.problems() == []


def test_merged_landmarks_are_merged_again_but_not_into_themselves(library):
    add_landmark(library.database, NewLandmark("Third"))
    library.merge("third", TOWER)
    library.merge(TOWER, EIFFEL)
    assert library.find("third").slug == library.find(TOWER).slug == EIFFEL
    with pytest.raises(LandmarkInvalid, match="both Eiffel Tower"):
        library.merge("Old Tower", EIFFEL)
    assert library.problems() == []


def test_verdicts_exported_elsewhere_find_the_merged_landmark(library):
    library.photo("a.jpg", digest=digest(1))
    library.merge(TOWER, EIFFEL)
    verdict = {"digest": digest(1), "landmark": TOWER, "verdict": "confirmed"}
    document = json.dumps([verdict | {"at": "2026-06-01T12:00:00+00:00"}])
    report = import_verdicts(library.database, read_entries(io.BytesIO(document.encode()), "file"))
    assert (report.added, report.unknown_landmarks) == (1, {})
    assert library.found(EIFFEL) == ["a.jpg"]


def test_what_a_person_set_stays_set_after_a_merge(library, tmp_path):
    edit_landmark(library.database, TOWER, {"region": "Sierra", "country": "Utopia"})
    library.merge(TOWER, HILL)
    hill = library.find(HILL)
    assert (hill.city, hill.country, hill.region) == ("Paris", "Utopia", "Sierra")
    label = LABELS[3].model_copy(update={"country": "Atlantis", "region": "Sea"})
    tiny_artifact(tmp_path / "new.pt", labels=(*LABELS[:3], label), name="new", created_at=LATER)
    add_model(library.database, tmp_path / "new.pt")
    assert (library.find(HILL).country, library.find(HILL).region) == ("Utopia", "Sierra")


def test_a_running_worker_stores_tags_of_the_landmark_that_remains(folder, database):
    folder.draw("first.jpg", 0)
    for number in range(3):
        folder.draw(f"later/{number}.jpg", 0, shade=number + 1)
    add_landmark(database, NewLandmark("Old Tower"))
    merged: list[str] = []

    def merge_once(_stored: object) -> None:
        if not merged:
            merged.append(EIFFEL)
            merge_landmark(database, EIFFEL, TOWER)

    job = folder.record(folder.folder / "first.jpg")
    folder.run(job, merge_once)
    progress = folder.run(folder.record())
    assert (progress.tagged, progress.failed) == (3, 0)
    assert len(list(find_tagged(database, PhotoQuery(landmark=TOWER)))) == 4


def test_an_own_landmark_is_removed_with_its_verdicts_if_that_is_asked_for(library):
    library.photo("a.jpg", (EIFFEL, 0.9, True), digest=digest(1))
    library.photo("b.jpg", digest=digest(2))
    library.give(digest(1), TOWER, "confirmed")
    library.give(digest(2), TOWER, "rejected")
    library.give(digest(1), EIFFEL, "rejected")
    with pytest.raises(Conflict, match="old-tower has 2 verdicts, which would be lost"):
        library.remove(TOWER)
    assert library.remove(TOWER, dry_run=True, with_verdicts=True).confirmed == 1
    assert len(library.verdicts()) == 3
    result = library.remove(TOWER, with_verdicts=True)
    assert (result.confirmed, result.rejected, result.schedules) == (1, 1, [])
    assert library.verdicts() == [(digest(1), EIFFEL, "rejected")]
    with pytest.raises(LandmarkNotFound):
        library.find(TOWER)
    entry = audit_entries(library.database)[0]
    assert (entry.action, entry.subject, entry.details["confirmed"]) == ("landmark-remove", TOWER, 1)
    assert library.problems() == []
