"""A model of things beside one of landmarks: what it stores, and what it leaves as it is."""

import io
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import ValidationError
from sqlalchemy import delete, insert, select, text, update
from support.artifacts import LABELS, tiny_artifact, tiny_manifest
from support.colour_folders import EIFFEL, TaggedFolder
from support.databases import execute, statements
from support.models import record_inferences
from support.raw_pairs import PairFolder

from tagger.cli.commands.review import EXPORT_COLUMNS
from tagger.cli.job_text import job_report, photo_line
from tagger.database import JobKind, Target, VerdictKind
from tagger.database.connection import Database
from tagger.database.tables import contents, image_things, models, thing_labels, thing_verdicts, things
from tagger.errors import TaggerError, ThingNotFound
from tagger.jobs.enqueue.metadata_jobs import Write
from tagger.jobs.enqueue.submission import Backfill, BackfillScope, MetadataOptions, inference_options, submit
from tagger.jobs.processing.metadata_preview import load_photo_tags
from tagger.landmarks.edits import NewLandmark, add_landmark
from tagger.ledger.job_control import find_job
from tagger.model import LabelPrediction
from tagger.model.artifact import Label
from tagger.query.details import photo_details
from tagger.query.find import find_tagged
from tagger.query.options import PhotoQuery
from tagger.query.photo_json import JobPhotos
from tagger.query.timeline import count_photos
from tagger.registry import RegisteredModel, add_model, models_to_try, remove_model, use_models
from tagger.search.text_query import text_query
from tagger.tags.causes import store_things
from tagger.tags.models_in_use import names_in_use
from tagger.texts import json_bytes
from tagger.things import all_things, count_things, find_thing
from tagger.transfer import check_database
from tagger.verdicts import VerdictFilter, give_verdicts, list_verdicts, withdraw_verdicts
from tagger.verdicts.importing import ImportedVerdicts, import_verdicts, read_entries

DOG = Label(label="dog", slug="dog", name="Dog", names={"de": "Hund"}, aliases=("puppy",), parent="animal")
# The thing at a position has the colour of the landmark at it.
THINGS = (
    DOG,
    Label(label="castle", slug="castle", name="Castle", names={"de": "Burg"}),
    Label(label="animal", slug="animal", name="Animal", names={"de": "Tier"}),
    Label(label="cat", slug="cat", name="Cat", names={"de": "Katze"}, parent="animal"),
)
FISH = Label(label="fish", slug="fish", name="Fish")


class Library(TaggedFolder):
    """The models `tiny` of landmarks, and `objects` of things."""

    def __init__(self, database: Database, folder: Path) -> None:
        super().__init__(database, folder)
        tiny_artifact(folder / "objects.pt", THINGS, name="objects", kind="things")
        self.objects = add_model(database, folder / "objects.pt")
        use_models(database, ["objects", "tiny"])
        self.in_use = self.settings.model_copy(update={"model": None})

    def backfill(self) -> dict[str, str]:
        self.job, _ = submit(self.database, self.in_use, Backfill(BackfillScope.OUTDATED), local=True)
        self.run(self.job)
        return self.outcomes(self.job)

    def things(self, name: str) -> Sequence[str]:
        """What `show` names of a photo."""
        return [each.thing for each in photo_details(self.database, self.folder / name).photo.things]

    def names(self, **options: object) -> set[str]:
        found = find_tagged(self.database, PhotoQuery.parse(options))
        return {Path(photo.path).name for photo in found}

    def import_(self, documents: Sequence[dict[str, object]]) -> ImportedVerdicts:
        return import_verdicts(self.database, read_entries(io.BytesIO(json_bytes(documents)), "file"))

    def search(self, words: str) -> set[str]:
        found = find_tagged(self.database, text_query(self.database, words, {}).query)
        return {Path(photo.path).name for photo in found}


@pytest.fixture
def library(database, tmp_path) -> Library:
    return Library(database, tmp_path)


@pytest.mark.postgresql
def test_things_come_beside_landmarks_and_decide_nothing_about_them(library, monkeypatch):
    library.draw("a.jpg", 0)
    library.draw("b.jpg", 1)
    sizes = record_inferences(monkeypatch)
    assert library.tag(others=[library.objects]) == {"a.jpg": "tagged", "b.jpg": "tagged"}
    assert sizes == [2, 2]
    assert library.results == ["Classified", "Classified"]
    assert (library.things("a.jpg"), library.things("b.jpg")) == (["dog"], ["castle"])
    assert library.names(landmark=EIFFEL) == {"a.jpg"}
    with library.database.read() as connection:
        of_image = select(models.c.name).join(contents, contents.c.model_id == models.c.id)
        assert set(connection.scalars(of_image)) == {"tiny"}
        assert connection.scalar(text("SELECT count(*) FROM effective_tags")) == 2
        assert connection.scalar(text("SELECT count(*) FROM landmarks")) == len(LABELS)
    assert library.tag(others=[library.objects]) == {"a.jpg": "skipped", "b.jpg": "skipped"}
    assert list(check_database(library.database)) == []
    assert [model.name for model in models_to_try(library.database, None)] == ["tiny"]
    assert names_in_use(library.database) == ["tiny", "objects"]


def test_settings_set_the_threshold_of_landmarks_and_names_a_prefix_of_things(library):
    settings = library.in_use.model_copy(update={"threshold": 0.9})
    thresholds = inference_options(library.database, settings).thresholds
    assert thresholds == {library.model.id: 0.9, library.objects.id: 0.5}
    library.draw("dog.jpg", 0)
    library.tag(others=[library.objects])
    add_landmark(library.database, NewLandmark(name="Dog"))
    photo = [library.folder / "dog.jpg"]
    give_verdicts(library.database, photo, "dog", VerdictKind.REJECTED, "ann", {})
    assert library.names(thing="dog") == {"dog.jpg"}
    give_verdicts(library.database, photo, "thing:dog", VerdictKind.REJECTED, "ann", {})
    assert library.names(thing="dog") == set()


def test_a_backfill_finds_things_in_photos_that_are_tagged_and_keeps_their_outcomes(library, monkeypatch):
    library.draw("a.jpg", 0)
    library.tag(top_k=library.settings.top_k)
    before = photo_details(library.database, library.folder / "a.jpg")
    sizes = record_inferences(monkeypatch)
    assert library.backfill() == {"a.jpg": "tagged"}
    assert sizes == [1]
    _, lines = job_report(library.database, find_job(library.database, library.job))
    assert lines == ["1 photo shows things: Animal 1, Dog 1"], "the landmark was known before"
    after = photo_details(library.database, library.folder / "a.jpg")
    assert [each.thing for each in after.photo.things] == ["dog"]
    assert (after.photo.tags, after.thresholds) == (before.photo.tags, before.thresholds)
    assert library.backfill() == {}


def test_a_photo_that_only_a_model_of_things_has_seen_waits_for_landmarks(library):
    library.draw("a.jpg", 0)
    assert library.tag(model=library.objects) == {"a.jpg": "unknown"}
    assert (library.things("a.jpg"), library.names(unknown=True)) == (["dog"], set())
    assert library.tag(others=[library.objects]) == {"a.jpg": "tagged"}
    assert library.names(thing="dog", landmark=EIFFEL) == {"a.jpg"}


@pytest.mark.postgresql
def test_photos_are_found_by_things_by_their_names_and_by_what_they_are_kinds_of(library):
    for name, position in (("dog.jpg", 0), ("castle.jpg", 1), ("cat.jpg", 3)):
        library.draw(name, position)
    library.tag(others=[library.objects])
    assert (
        library.names(thing="dog")
        == library.names(thing="Hund")
        == library.names(thing="PUPPY")
        == {"dog.jpg"}
    )
    assert library.names(thing="animal") == {"dog.jpg", "cat.jpg"}
    assert library.names(thing=("animal", "cat")) == {"cat.jpg"}
    assert library.names(thing=("dog", "cat")) == set()
    assert library.names(thing="animal", without="thing=cat") == {"dog.jpg"}
    assert library.names(thing="dog", country="Germany") == set()
    with pytest.raises(ThingNotFound, match=r"no thing dgo.*nearest: dog\b"):
        library.names(thing="dgo")
    with library.database.read() as connection:
        assert find_thing(connection, "Katze").path_in("de") == ("Tier", "Katze")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("dog", {"dog.jpg"}),
        ("thing:dog", {"dog.jpg"}),
        ("hund", {"dog.jpg"}),
        ("tier", {"dog.jpg", "cat.jpg"}),
        ("animal not cat", {"dog.jpg"}),
        ("animal dog", {"dog.jpg"}),
        ("animal and cat", {"cat.jpg"}),
        ("dog or cat", {"dog.jpg", "cat.jpg"}),
        ("dog in paris", {"dog.jpg"}),
        ("cat in paris", set()),
        # What landmarks of the kind are, too, is both.
        ("castle", {"castle.jpg", "chateau.jpg"}),
    ],
)
def test_a_search_understands_things(library, words, found):
    for name, position in (("dog.jpg", 0), ("castle.jpg", 1), ("cat.jpg", 3)):
        library.draw(name, position)
    library.tag(others=[library.objects])
    library.draw("chateau.jpg", 2)
    library.tag()
    assert library.search(words) == found


def test_where_things_are_off_a_search_and_an_option_say_how_to_turn_them_on(library):
    assert library.search("dog") == library.search("thing:dog 2019") == set(), "they are on"
    use_models(library.database, ["tiny"])
    remove_model(library.database, "objects")
    for search in (lambda: library.names(thing="dog"), lambda: library.search("dog")):
        with pytest.raises(TaggerError, match=r"Things are off; .* then: tagger backfill outdated"):
            search()


def test_things_count_while_their_model_is_in_use_and_verdicts_always(library):
    library.draw("dog.jpg", 0)
    library.draw("castle.jpg", 1)
    library.tag(others=[library.objects])
    photo, other = library.folder / "dog.jpg", library.folder / "castle.jpg"
    given = give_verdicts(library.database, [photo], "Hund", VerdictKind.REJECTED, "ann", {})
    assert (given.landmark, given.photos[0].verdict) == ("dog", "rejected")
    give_verdicts(library.database, [other], "cat", VerdictKind.CONFIRMED, "ann", {})
    assert library.names(thing="animal") == {"castle.jpg"}
    library.tag(others=[library.objects], reprocess=True)
    assert library.names(thing="animal") == {"castle.jpg"}
    use_models(library.database, ["tiny"])
    assert (library.names(thing="castle"), library.names(thing="cat")) == (set(), {"castle.jpg"})
    use_models(library.database, ["tiny", "objects"])
    withdrawn = withdraw_verdicts(library.database, [photo], "dog", VerdictKind.REJECTED, {})
    assert withdrawn.photos[0].changed
    assert withdraw_verdicts(library.database, [other], "cat", VerdictKind.CONFIRMED, {}).photos[0].changed
    assert library.names(thing="animal") == {"dog.jpg"}
    with library.database.read() as connection:
        assert sorted(connection.scalars(select(image_things.c.thing))) == ["castle", "dog"]
        assert connection.execute(select(thing_verdicts)).all() == []


def test_a_model_of_a_newer_package_replaces_what_the_earlier_one_finds_image_by_image(library):
    library.draw("dog.jpg", 0)
    library.draw("castle.jpg", 1)
    library.tag(others=[library.objects])
    tiny_artifact(library.folder / "newer.pt", (FISH, *THINGS[1:]), name="newer", kind="things")
    newer = add_model(library.database, library.folder / "newer.pt")
    execute(library.database, update(models).where(models.c.kind == "things").values(file=None))
    with library.database.write() as connection:
        claim = SimpleNamespace(top_k=5, thresholds={newer.id: 0.5})
        image = select(image_things.c.content_id).where(image_things.c.thing == "dog")
        predictions = SimpleNamespace(predictions=[LabelPrediction(0, 1, 0.9, accepted=True)])
        result = SimpleNamespace(results={newer.id: predictions})
        store_things(connection, claim, {connection.scalar(image): result}, {newer.id: {0: "fish"}})
    assert library.names(thing="fish") == {"dog.jpg"}
    assert (library.names(thing="animal"), library.names(thing="castle")) == (set(), {"castle.jpg"})


@pytest.fixture
def second(library, tmp_path) -> RegisteredModel:
    """Another model of things, which finds a dog in the same colour, and an animal in the castle's."""
    labels = (DOG, *THINGS[2:], FISH)
    tiny_artifact(tmp_path / "second.pt", labels, name="second", kind="things")
    return add_model(library.database, tmp_path / "second.pt")


@pytest.mark.postgresql
def test_two_models_that_find_one_thing_keep_a_row_each(library, second):
    library.draw("dog.jpg", 0)
    library.tag(others=[library.objects])
    library.tag(model=second)
    assert library.names(thing="dog") == {"dog.jpg"}
    use_models(library.database, ["tiny", "objects", "second"])
    (dog,) = photo_details(library.database, library.folder / "dog.jpg").photo.things
    with library.database.write() as connection:
        scores = select(image_things.c.model_id, image_things.c.score)
        assert {row.model_id for row in connection.execute(scores)} == {library.objects.id, second.id}
        of_second = update(image_things).where(image_things.c.model_id == second.id)
        connection.execute(of_second.values(score=0.6))
    (photo,) = find_tagged(library.database, PhotoQuery.parse({"thing": "dog"}))
    assert photo.things == (dog,)
    assert [each.photos for each in count_things(library.database)] == [1, 1]
    use_models(library.database, ["tiny", "second"])
    (photo,) = find_tagged(library.database, PhotoQuery.parse({"thing": "dog"}))
    assert [(each.thing, each.score) for each in photo.things] == [("dog", 0.6)]
    use_models(library.database, ["tiny", "objects"])
    remove_model(library.database, "second")
    assert library.names(thing="dog") == {"dog.jpg"}
    assert list(check_database(library.database)) == []


@pytest.mark.postgresql
def test_scores_and_models_that_are_gone_leave_no_things(library):
    path = library.draw("dog.jpg", 0)
    library.tag(others=[library.objects])
    give_verdicts(library.database, [path], "dog", VerdictKind.CONFIRMED, "ann", {})
    with library.database.write() as connection:
        position = update(thing_labels).where(thing_labels.c.thing == "dog")
        connection.execute(position.values(thing="cat"))
    library.tag(others=[library.objects], reprocess=True)
    shown = photo_details(library.database, path).photo.things
    assert [(each.thing, each.score is None) for each in shown] == [("dog", True), ("cat", False)]
    withdraw_verdicts(library.database, [path], "dog", VerdictKind.CONFIRMED, {})
    assert library.things("dog.jpg") == ["cat"]
    library.draw("dog.jpg", 0)
    library.draw("castle.jpg", 1)
    library.tag(others=[library.objects])
    give_verdicts(library.database, [library.folder / "dog.jpg"], "dog", VerdictKind.CONFIRMED, "ann", {})
    use_models(library.database, ["tiny"])
    remove_model(library.database, "objects")
    assert library.names(thing="dog") == {"dog.jpg"}
    with pytest.raises(ThingNotFound):
        library.names(thing="castle")
    assert library.names(landmark=EIFFEL) == {"dog.jpg"}
    assert list(check_database(library.database)) == []


@pytest.mark.postgresql
def test_numbers_of_things_are_those_of_the_queries(library):
    for name, position in (("dog.jpg", 0), ("castle.jpg", 1), ("cat.jpg", 3), ("gone.jpg", 0)):
        library.draw(name, position, shade=len(name))
    shutil.copy(library.folder / "dog.jpg", library.folder / "copy.jpg")
    library.tag(others=[library.objects])
    (library.folder / "gone.jpg").unlink()
    library.tag(others=[library.objects])
    # Only a model of things has classified this one.
    alone = library.draw("alone.jpg", 3, shade=1)
    library.tag(alone, model=library.objects)
    give_verdicts(library.database, [library.folder / "castle.jpg"], "cat", VerdictKind.CONFIRMED, "ann", {})
    give_verdicts(library.database, [library.folder / "cat.jpg"], "cat", VerdictKind.REJECTED, "ann", {})
    with statements(library.database, "image_things") as executed:
        counts = count_things(library.database)
    assert len(executed) == 1
    numbers = {each.thing.slug: each.photos for each in counts}
    assert numbers == {"animal": 2, "castle": 1, "cat": 1, "dog": 1}
    for slug, number in numbers.items():
        query = PhotoQuery(thing=slug, any_rank=True, sort="newest", distinct=True)
        assert count_photos(library.database, query, 100) == number


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("DELETE FROM classifications", "is of the model objects, which did not classify it"),
        ("UPDATE image_things SET thing = 'extra'", "extra is of the model objects, which does not name it"),
    ],
)
def test_a_check_finds_things_that_no_model_can_have_found(library, change, problem):
    library.draw("dog.jpg", 0)
    library.tag(others=[library.objects])
    with library.database.write() as connection:
        connection.execute(insert(things).values(slug="extra", name="Extra", names={}, aliases=[]))
        connection.execute(text(change))
    assert problem in "".join(check_database(library.database))


@pytest.mark.parametrize("is_added_again", [True, False])
def test_names_of_things_are_those_of_the_model_that_was_added_last(library, tmp_path, is_added_again):
    labels = (
        Label(label="dog", slug="dog", name="Doggy", aliases=("doggo",)),
        Label(label="pet", slug="pet", name="Pet"),
        Label(label="fish", slug="fish", name="Fish", parent="pet"),
    )
    tiny_artifact(tmp_path / "second.pt", labels, name="second", kind="things")
    add_model(library.database, tmp_path / "second.pt")
    with library.database.read() as connection:
        assert find_thing(connection, "doggo").name == "Doggy"
    if is_added_again:
        add_model(library.database, library.settings.data_folder / "objects.pt")
    else:
        remove_model(library.database, "second")
    with library.database.read() as connection:
        every = all_things(connection)
    assert (every["dog"].name, every["dog"].parent) == ("Dog", "animal")
    assert ({"fish", "pet"} <= every.keys()) == is_added_again
    assert list(check_database(library.database)) == []


def test_a_thing_of_a_removed_model_stays_where_people_decided(library, second):
    path = library.draw("castle.jpg", 1)
    library.tag(others=[library.objects])
    give_verdicts(library.database, [path], "castle", VerdictKind.REJECTED, "ann", {})
    use_models(library.database, ["tiny", "second"])
    remove_model(library.database, "objects")
    with library.database.read() as connection:
        assert set(all_things(connection)) == {"dog", "animal", "cat", "fish", "castle"}


def test_lines_name_each_thing_once_without_rejected_ones_and_escaped(library, second, tmp_path):
    dog = Label(label="dog", slug="dog", name="Dog")
    hostile = Label(label="cat", slug="cat", name="Cat\x1b[31m\u202e")
    labels = (dog, THINGS[1], hostile, FISH)
    tiny_artifact(tmp_path / "third.pt", labels, name="third", kind="things")
    third = add_model(library.database, tmp_path / "third.pt")
    paths = [library.draw("dog.jpg", 0), library.draw("cat.jpg", 2), library.draw("castle.jpg", 1)]
    library.tag(others=[library.objects])
    give_verdicts(library.database, paths[2:], "castle", VerdictKind.REJECTED, "ann", {})
    job = library.record(others=[library.objects, third, second], reprocess=True)
    photos = JobPhotos(library.database, library.settings.roots, job)
    library.run(job)
    lines = [photo_line(each, JobKind.TAG) for each in photos.next()]
    shown = {Path(line.partition(".jpg")[0]).name: line.partition("shows ")[2] for line in lines}
    assert shown == {"dog": "Dog", "cat": "Animal and Cat\\x1b[31m\\u202e", "castle": "Animal"}


def test_verdicts_on_things_go_to_another_database(library):
    paths = [library.draw("dog.jpg", 0), library.draw("castle.jpg", 1)]
    library.tag(others=[library.objects])
    give_verdicts(library.database, paths[:1], "dog", VerdictKind.REJECTED, "ann", {})
    give_verdicts(library.database, paths[1:], "cat", VerdictKind.CONFIRMED, "bob", {})
    listed = list(list_verdicts(library.database, VerdictFilter()))
    assert [(each.landmark, each.name, each.verdict, each.by) for each in listed] == [
        ("thing:dog", "Dog", "rejected", "ann"),
        ("thing:cat", "Cat", "confirmed", "bob"),
    ]
    assert list(list_verdicts(library.database, VerdictFilter("confirmed"))) == listed[1:]
    assert list(list_verdicts(library.database, VerdictFilter(photos=PhotoQuery(landmark=EIFFEL)))) == []
    exported = [{name: getattr(each, name) for name in EXPORT_COLUMNS} for each in listed]
    assert library.import_(exported) == ImportedVerdicts(unchanged=2)
    with library.database.write() as connection:
        connection.execute(update(thing_verdicts).values(given_at=datetime(2020, 1, 1, tzinfo=UTC)))
        connection.execute(delete(thing_verdicts).where(thing_verdicts.c.thing == "cat"))
    unknown = exported[0] | {"landmark": "thing:unicorn"}
    done = library.import_([*exported, unknown])
    assert (done.added, done.replaced, dict(done.unknown_landmarks)) == (1, 1, {"thing:unicorn": 1})
    assert list(list_verdicts(library.database, VerdictFilter())) == listed
    assert library.names(thing="cat") == {"castle.jpg"}


def test_the_photo_of_a_raw_file_and_its_jpeg_keeps_verdicts_on_things(database, tmp_path):
    folder = PairFolder(database, tmp_path)
    tiny_artifact(tmp_path / "objects.pt", THINGS, name="objects", kind="things")
    add_model(database, tmp_path / "objects.pt")
    raw = folder.draw_raw("IMG_1.CR3", 1)
    folder.tag()
    give_verdicts(database, [raw], "dog", VerdictKind.CONFIRMED, "ann", {})
    folder.draw("IMG_1.JPG", 0)
    folder.tag()
    (photo,) = find_tagged(database, PhotoQuery(thing="dog", any_outcome=True))
    assert (Path(photo.path).name, photo.files) == ("IMG_1.JPG", 2)


def test_metadata_has_things_only_if_that_is_asked(library):
    library.draw("dog.jpg", 0)
    library.tag(others=[library.objects])
    plain = MetadataOptions(Target.SIDECAR, language="de")
    with_things = MetadataOptions(Target.SIDECAR, language="de", things=True)
    ((photo_id,),) = Write(with_things).photo_id_pages(library.database, {})
    (tags,) = load_photo_tags(library.database, [photo_id]).values()
    path, root = library.folder / "dog.jpg", library.folder
    requests = [tags.write_request(path, root, each, max_bytes=10**6) for each in (plain, with_things)]
    assert [each.tag_fields.keywords for each in requests] == [("Eiffelturm",), ("Eiffelturm", "Hund")]
    assert requests[1].tag_fields.paths[-1] == ("Things", "Tier", "Hund")
    assert MetadataOptions.from_job_options(with_things.to_job_options()) == with_things


@pytest.mark.parametrize(
    ("labels", "fields", "reason"),
    [
        ([DOG], {"kind": "things"}, "the parent of a label is no thing"),
        (THINGS, {}, "the parent of a label is no thing"),
        (
            THINGS,
            {
                "kind": "things",
                "format": 2,
                "embedding": {"dimension": 2, "layer": "last", "background_photos": 2},
            },
            "has no embedding",
        ),
    ],
)
def test_a_manifest_of_things_has_their_parents_and_no_embedding(labels, fields, reason):
    with pytest.raises(ValidationError, match=reason):
        tiny_manifest(labels, name="objects", **fields)
