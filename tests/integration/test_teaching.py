"""Teaching landmarks: learned from verdicts, compared with stored embeddings, kept up to date."""

import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update
from support.artifacts import tiny_artifact
from support.colour_folders import EIFFEL, TaggedFolder
from support.databases import read_row, read_rows, read_scalar, read_scalars
from support.teaching import DIMENSION, draw_place, teachable_artifact
from support.threads import in_threads

from tagger.cli.commands.doctor import check_models
from tagger.database import VerdictKind
from tagger.database.connection import Database
from tagger.database.tables import classifiers, contents, embeddings, photos, taught_tags
from tagger.errors import EmbeddingsMissing
from tagger.jobs.enqueue.submission import Backfill, BackfillScope, count_photos, submit
from tagger.jobs.processing import classification
from tagger.kept.update import update_kept
from tagger.landmarks import Landmark, find_landmark
from tagger.landmarks.edits import (
    MergedLandmark,
    NewLandmark,
    RemovedLandmarkDocument,
    add_landmark,
    merge_landmark,
    remove_landmark,
)
from tagger.ledger import InferenceOptions
from tagger.ledger.job_control import JobProgress
from tagger.model import TAUGHT_THRESHOLD
from tagger.query.details import photo_details
from tagger.query.find import find_tagged
from tagger.query.options import PhotoQuery
from tagger.registry import add_model, use_models
from tagger.teaching.classifiers import classifier_bytes, embedding_bytes
from tagger.teaching.comparison import load_classifiers
from tagger.teaching.learning import (
    NamedOtherwise,
    TaughtState,
    embedding_of,
    learn_landmarks,
    taught_state,
    update_taught,
)
from tagger.teaching.lessons import find_suggestions
from tagger.transfer import connection_problems
from tagger.verdicts import give_verdicts, withdraw_verdicts

CHURCH, BRIDGE = 0, 1
PHOTOS = 8  # Photos of each place
OTHER_PLACES = range(10, 22)


class Library(TaggedFolder):
    """Photos of two places and of many others, tagged with a model that knows none of them."""

    def __init__(self, database: Database, folder: Path) -> None:
        super().__init__(database, folder, teachable_artifact)
        for place in (CHURCH, BRIDGE):
            for seed in range(PHOTOS):
                draw_place(self.folder / name_of(place, seed), place, seed=seed)
        for place in OTHER_PLACES:
            draw_place(self.folder / name_of(place, 0), place)
        self.tag()

    def landmark(self, name: str) -> Landmark:
        return add_landmark(self.database, NewLandmark(name))

    def confirm(self, landmark: Landmark, place: int, *seeds: int) -> None:
        for seed in seeds:
            path = self.folder / name_of(place, seed)
            give_verdicts(self.database, [path], landmark.slug, VerdictKind.CONFIRMED, "tester", {})

    def teach(self, landmark: Landmark, place: int, *seeds: int) -> TaughtState:
        self.confirm(landmark, place, *seeds)
        return self.update(landmark)

    def update(self, landmark: Landmark) -> TaughtState:
        update_taught(self.database, self.model)
        return taught_state(self.database, self.model, landmark)

    def backfill(self, *, dry_run: bool = False) -> Any:
        """Run the backfill `taught` in this process; with `dry_run`, only count its photos."""
        if dry_run:
            inference = InferenceOptions(self.model.id, 5, 0.5)
            return count_photos(self.database, Backfill(BackfillScope.TAUGHT), inference, {})
        return run_backfill(self)

    def tagged(self, landmark: Landmark) -> set[str]:
        """Names of the photos with an accepted taught tag of the landmark."""
        query = (
            select(photos.c.path)
            .join(taught_tags, taught_tags.c.content_id == photos.c.content_id)
            .where(taught_tags.c.landmark_id == landmark.id, taught_tags.c.score >= TAUGHT_THRESHOLD)
        )
        return set(read_scalars(self.database, query))


def run_backfill(folder: TaggedFolder) -> JobProgress:
    settings = folder.settings.model_copy(update={"model": folder.model.name})
    job, _ = submit(folder.database, settings, Backfill(BackfillScope.TAUGHT), local=True)
    return folder.run(job)


def name_of(place: int, seed: int) -> str:
    return f"place-{place:02}/{seed:02}.jpg"


def all_of(place: int) -> set[str]:
    return {name_of(place, seed) for seed in range(PHOTOS)}


@pytest.fixture
def library(database, tmp_path) -> Library:
    return Library(database, tmp_path)


def test_all_photos_of_a_place_are_tagged_from_a_few_examples_and_new_ones_when_they_come(library):
    with library.database.read() as connection:
        rows = connection.execute(select(embeddings)).all()
        assert len(rows) == connection.scalar(select(func.count()).select_from(contents))
    assert {len(row.data) for row in rows} == {embedding_bytes(DIMENSION)}
    assert {(row.model_id, row.taught_version) for row in rows} == {(library.model.id, 0)}
    church = library.landmark("Our church")
    state = library.teach(church, CHURCH, 0, 1, 2, 3, 4)
    assert library.tagged(church) == all_of(CHURCH)
    assert (state.examples, state.rejected, state.tagged) == (5, 0, PHOTOS - 5)
    assert state.precision >= 0.9
    draw_place(library.folder / "new.jpg", CHURCH, seed=100)
    draw_place(library.folder / "other.jpg", 99)
    outcomes = library.tag()
    assert (outcomes["new.jpg"], outcomes["other.jpg"]) == ("tagged", "unknown")
    assert library.tagged(church) == all_of(CHURCH) | {"new.jpg"}


def test_of_several_models_the_first_with_embeddings_is_taught(library):
    teachable_artifact(library.folder / "second.pt", seed=1, name="second")
    second = add_model(library.database, library.folder / "second.pt")
    use_models(library.database, [library.model.name, second.name])
    library.tag(others=[second])
    library.teach(library.landmark("Our church"), CHURCH, 0, 1, 2, 3, 4)
    settings = library.settings.model_copy(update={"model": None})
    assert [each.found for each in check_models(settings, library.database) if "compared" in each.found] == []


def test_a_backfill_compares_what_an_interrupted_comparison_did_not(library):
    church = library.landmark("Our church")
    library.confirm(church, CHURCH, 0, 1, 2, 3)
    learn_landmarks(library.database, library.model)  # and is killed before it compares
    draw_place(library.folder / "new.jpg", CHURCH, seed=100)
    library.tag()  # and compares the new image
    assert library.backfill(dry_run=True) == library.count(photos) - 1
    progress = library.backfill()
    assert (progress.total, progress.tagged) == (library.count(photos) - 1, PHOTOS)
    assert library.tagged(church) == all_of(CHURCH) | {"new.jpg"}
    assert library.backfill(dry_run=True) == 0
    assert read_scalar(library.database, select(classifiers.c.applied)) == 1


@pytest.mark.postgresql
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one writer
def test_what_chunks_that_are_stored_at_once_compared_is_applied(library, monkeypatch):
    library.confirm(library.landmark("Our church"), CHURCH, 0, 1, 2, 3)
    learn_landmarks(library.database, library.model)
    both = threading.Barrier(2)
    store = classification.store_outcomes

    def store_together(*arguments: Any) -> None:
        store(*arguments)
        with suppress(threading.BrokenBarrierError):
            both.wait(timeout=5)  # the last of an odd number of chunks waits for none

    monkeypatch.setattr(classification, "store_outcomes", store_together)
    library.backfill()
    assert read_scalar(library.database, select(classifiers.c.applied)) is True


def test_a_backfill_learns_from_verdicts_and_again_what_an_older_release_has_learned(library):
    church = library.landmark("Our church")
    library.confirm(church, CHURCH, 0, 1, 2, 3)
    library.backfill()
    assert library.tagged(church) == all_of(CHURCH)
    with library.database.read() as connection:
        learned = connection.execute(select(classifiers.c.data, classifiers.c.evidence)).one()
        assert list(connection_problems(connection)) == []
    old = {
        "data": learned.data[: classifier_bytes(embedding_of(library.model).dimension)],
        "evidence": "of these verdicts",
    }
    with library.database.write() as connection:
        connection.execute(update(classifiers).values(old))
        assert list(connection_problems(connection)) == []
        taught = load_classifiers(connection, library.model.id, 0)
    assert taught.classifiers is not None
    assert taught.classifiers.weights.shape[1] == 1
    library.backfill()
    assert read_row(library.database, select(classifiers.c.data, classifiers.c.evidence)) == learned


def test_withdrawing_all_examples_takes_the_tags_back(library):
    church = library.landmark("Our church")
    library.teach(church, CHURCH, 0, 1)
    for seed in (0, 1):
        path = library.folder / name_of(CHURCH, seed)
        withdraw_verdicts(library.database, [path], church.slug, VerdictKind.CONFIRMED, {})
    assert library.update(church) == TaughtState(0, 0, 0, 0, None, is_label=False)
    assert library.count(classifiers) == library.count(taught_tags) == 0


@pytest.mark.parametrize("action", ["merge", "remove"])
def test_a_merged_or_removed_landmark_takes_its_taught_tags_along(library, action):
    church, bridge = library.landmark("Our church"), library.landmark("Our bridge")
    library.teach(church, CHURCH, 0, 1, 2, 3, 4)
    if action == "merge":
        result: MergedLandmark | RemovedLandmarkDocument = merge_landmark(
            library.database, church.slug, bridge.slug
        )
    else:
        result = remove_landmark(library.database, church.slug, with_verdicts=True)
    assert result.taught_tags >= PHOTOS - 5
    with library.database.read() as connection:
        assert not connection.execute(select(taught_tags)).all()
        assert not connection.execute(select(classifiers)).all()
    draw_place(library.folder / name_of(CHURCH, PHOTOS), CHURCH, seed=PHOTOS)
    assert "failed" not in library.tag().values()
    library.update(bridge)
    assert bool(library.tagged(bridge)) == (action == "merge")


@pytest.mark.postgresql
def test_two_people_teach_at_once(library):
    church, bridge = library.landmark("Our church"), library.landmark("Old bridge")

    def teach(landmark: Landmark, place: int, *seeds: int) -> None:
        library.confirm(landmark, place, *seeds)
        update_taught(library.database, library.model)

    in_threads(
        [
            lambda: teach(church, CHURCH, 0, 1),
            lambda: teach(bridge, BRIDGE, 0, 1, 2),
            lambda: teach(church, CHURCH, 2, 3),
        ]
    )
    assert library.tagged(church) == all_of(CHURCH)
    assert library.tagged(bridge) == all_of(BRIDGE)
    assert library.backfill(dry_run=True) == 0
    learned = read_rows(library.database, select(classifiers.c.landmark_id, classifiers.c.examples))
    assert {tuple(row) for row in learned} == {(church.id, 4), (bridge.id, 3)}


def test_what_was_taught_follows_the_models_in_use(library):
    church = library.landmark("Our church")
    library.teach(church, CHURCH, 0, 1, 2, 3)
    teachable_artifact(library.folder.parent / "other.pt", seed=1, name="other")
    library.model = add_model(library.database, library.folder.parent / "other.pt")
    assert library.update(church).examples == 0, "no image has an embedding of this model"
    library.tag(model=library.model)
    assert library.tagged(church) == set(), "the tags of the former model went with its embeddings"
    assert library.update(church).examples == 4
    assert library.tagged(church) == all_of(CHURCH)
    tiny_artifact(library.folder.parent / "plain.pt", name="plain")
    plain = add_model(library.database, library.folder.parent / "plain.pt")
    library.tag(model=plain)
    assert library.count(embeddings) == library.count(taught_tags) == 0
    with pytest.raises(EmbeddingsMissing, match="plain"):
        update_taught(library.database, plain)


def test_a_landmark_of_the_model_is_taught_once_the_model_has_missed_it(library):
    with library.database.read() as connection:
        tower = find_landmark(connection, EIFFEL)
    assert library.teach(tower, CHURCH, 0, 1).examples == 0
    assert library.teach(tower, CHURCH, 2).examples == 3
    assert library.tagged(tower) == all_of(CHURCH)


class Walls(TaggedFolder):
    """Photos in one colour, of which the model is nearly certain and one is taught, and of unknown places."""

    def __init__(self, database: Database, folder: Path) -> None:
        super().__init__(database, folder, teachable_artifact)
        self.names = [self.draw(f"wall-{shade}.jpg", shade=shade).name for shade in range(5)]
        for place in OTHER_PLACES:
            draw_place(self.folder / name_of(place, 0), place)
        self.tag()
        self.landmark = add_landmark(database, NewLandmark("Our wall"))

    def teach(self, *names: str) -> TaughtState:
        for name in names:
            self.give(name, "our-wall", VerdictKind.CONFIRMED)
        update_taught(self.database, self.model)
        return taught_state(self.database, self.model, self.landmark)

    def give(self, name: str, slug: str, kind: VerdictKind) -> None:
        give_verdicts(self.database, [self.folder / name], slug, kind, "tester", {})

    def shown(self, slug: str) -> set[str]:
        update_kept(self.database)
        return {Path(photo.path).name for photo in find_tagged(self.database, PhotoQuery(landmark=(slug,)))}


@pytest.fixture
def walls(database, tmp_path) -> Walls:
    return Walls(database, tmp_path)


def test_a_nearly_certain_tag_of_the_model_stays_beside_a_suggestion(walls):
    first, second, *others = walls.names
    state = walls.teach(first, second)
    assert (walls.shown("our-wall"), walls.shown(EIFFEL)) == ({first, second}, set(others))
    eiffel = ("eiffel-tower", "Eiffel Tower")
    assert (state.doubtful, state.kept) == ((NamedOtherwise(*eiffel, 2),), (NamedOtherwise(*eiffel, 3),))
    assert (state.tagged, state.suggested) == (0, 3)
    suggested = list(find_suggestions(walls.database, walls.landmark.id, {}))
    assert {Path(photo.path).name for photo in suggested} == set(others)
    details = photo_details(walls.database, walls.folder / others[0]).photo
    (tag,) = (tag for tag in details.tags if tag.landmark == "our-wall")
    assert (tag.accepted, tag.doubtful) == (False, None)
    assert tag.reason == "suggested: the model is nearly certain of Eiffel Tower"
    assert tag.score >= TAUGHT_THRESHOLD
