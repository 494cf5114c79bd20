"""What happens on PostgreSQL between the moments at which a transaction reads and ends."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Connection, delete, insert, select, text, update
from support.colour_folders import EIFFEL, TaggedFolder
from support.databases import execute, read_scalar
from support.ledgers import claim_one
from support.position_library import NOON, PositionLibrary
from support.stored_photos import CLASSIFIED_AT
from support.teaching import DIMENSION, draw_place, teachable_artifact
from support.threads import wait_until

from tagger.database import JobState, KeptStep, Runner, VerdictKind, tables
from tagger.database.changed_days import ChangedDay, are_due, record_days
from tagger.database.connection import Database, open_database
from tagger.database.statements import AdvisoryLock, LockTimedOut, take_lock, try_lock
from tagger.database.tables import (
    chunks,
    classifiers,
    contents,
    landmarks,
    photos,
    positions,
    taught_tags,
    verdicts,
)
from tagger.kept import BEFORE_ALL
from tagger.kept.stored_trips import store_trips
from tagger.landmarks import Landmark
from tagger.landmarks.edits import NewLandmark, add_landmark, merge_landmark, remove_landmark
from tagger.ledger import finish_job
from tagger.tags import lock_contents
from tagger.tags.settlement import settle
from tagger.teaching import similarity
from tagger.teaching.classifiers import embedding_bytes
from tagger.teaching.comparison import TaughtCache, compare_batch
from tagger.teaching.learning import learn_landmarks, update_taught
from tagger.teaching.similarity import update_sketches
from tagger.transfer import check_database
from tagger.verdicts import give_verdicts, withdraw_verdicts


@pytest.fixture
def database(postgres_url) -> Iterator[Database]:
    with closing(open_database(postgres_url)) as database:
        yield database


def waiting(database: Database) -> int:
    """How many locks are waited for."""
    return read_scalar(database, text("SELECT count(*) FROM pg_locks WHERE NOT granted")) or 0


def started(database: Database, work: Callable[[], object]) -> threading.Thread:
    """A thread that has done the work, or waits for a lock."""
    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: waiting(database) or not thread.is_alive())
    return thread


def test_a_job_that_ends_while_a_verdict_is_given_counts_its_photo_as_all_others_do(database, tmp_path):
    folder = TaggedFolder(database, tmp_path)
    folder.draw("tower.jpg")
    job = folder.record(runner=Runner.WORKERS)
    claim = claim_one(database, job)
    executor = folder.executor()
    executor.execute(claim)
    executor.close()
    execute(database, update(chunks).values(done=True))
    with database.write() as connection:
        image = connection.execute(select(contents.c.id)).scalar_one()
        tower = connection.scalar(select(landmarks.c.id).where(landmarks.c.slug == EIFFEL))
        given = {"verdict": "rejected", "given_by": "ada", "given_at": CLASSIFIED_AT}
        connection.execute(insert(verdicts).values(content_id=image, landmark_id=tower, **given))
        settle(connection, [image])
        end = started(database, lambda: finish_job(database, job))
    end.join()
    progress = folder.progress(job)
    assert (progress.state, progress.tagged, progress.unknown) == (JobState.FINISHED, 0, 1)
    assert set(folder.outcomes(job).values()) == {"unknown"}


def test_trips_that_change_while_their_photos_are_located_stay_due(database):
    def change() -> None:
        with database.write() as connection:
            record_days(connection, [ChangedDay(KeptStep.TRIPS, date(2024, 5, 4).toordinal())])

    with database.write() as connection:
        record_days(connection, [ChangedDay(KeptStep.TRIPS, date(2024, 5, 3).toordinal())])
    with database.write() as connection:
        store_trips(connection, lambda: nullcontext(connection), BEFORE_ALL)
        changer = started(database, change)
    changer.join()
    with database.read() as connection:
        assert are_due(connection, KeptStep.TRIPS)


class Library(TaggedFolder):
    """Four photos of a church, which is confirmed on two of them."""

    def __init__(self, database: Database, folder: Path) -> None:
        super().__init__(database, folder, teachable_artifact)
        self.photos = [draw_place(self.folder / f"{seed}.jpg", 0, seed=seed) for seed in range(4)]
        self.tag()
        self.church = self.landmark("Our church")
        for photo in self.photos[:2]:
            self.confirm(photo)

    def landmark(self, name: str) -> Landmark:
        return add_landmark(self.database, NewLandmark(name))

    def confirm(self, photo: Path) -> None:
        give_verdicts(self.database, [photo], self.church.slug, VerdictKind.CONFIRMED, None, {})

    @contextmanager
    def waiting_learner(self) -> Iterator[None]:
        """Somebody has read the verdicts, and waits for a worker before storing what was learned."""
        learner = threading.Thread(target=learn_landmarks, args=(self.database, self.model))
        with self.database.write() as connection:
            TaughtCache(self.model.id).current(connection)
            learner.start()
            wait_until(lambda: waiting(self.database))
            yield
        learner.join()

    def learned(self) -> list[tuple[int, int]]:
        """The landmark and the number of examples of each classifier."""
        with self.database.read() as connection:
            rows = connection.execute(select(classifiers.c.landmark_id, classifiers.c.examples))
            return [(row.landmark_id, row.examples) for row in rows]


@pytest.fixture
def lessons(postgres_url, tmp_path) -> Iterator[Library]:
    with closing(open_database(postgres_url)) as database:
        yield Library(database, tmp_path)


def test_a_verdict_that_is_given_meanwhile_is_learned(lessons):
    with lessons.waiting_learner():
        lessons.confirm(lessons.photos[2])
    assert lessons.learned() == [(lessons.church.id, 3)]


@pytest.mark.parametrize("action", ["merge", pytest.param("remove", marks=pytest.mark.slow)])
def test_a_landmark_that_goes_meanwhile_is_not_learned(lessons, action):
    bridge = lessons.landmark("Old bridge")

    def change() -> None:
        if action == "merge":
            merge_landmark(lessons.database, lessons.church.slug, bridge.slug)
        else:
            remove_landmark(lessons.database, lessons.church.slug, with_verdicts=True)

    changer = threading.Thread(target=change)
    with lessons.waiting_learner():
        changer.start()
        time.sleep(0.2)
    changer.join()
    learn_landmarks(lessons.database, lessons.model)
    assert lessons.learned() == ([(bridge.id, 2)] if action == "merge" else [])


def test_what_is_taught_is_forgotten_while_positions_are_weighed(lessons):
    update_taught(lessons.database, lessons.model)
    for photo in lessons.photos[:2]:
        withdraw_verdicts(lessons.database, [photo], lessons.church.slug, VerdictKind.CONFIRMED, {})
    learner = threading.Thread(target=learn_landmarks, args=(lessons.database, lessons.model))
    with lessons.database.write() as connection:
        lock_contents(connection, connection.scalars(select(taught_tags.c.content_id)).all())
        learner.start()
        wait_until(lambda: waiting(lessons.database))
        assert connection.execute(update(taught_tags).values(distance_m=1.0)).rowcount == 4
    learner.join()
    assert lessons.count(taught_tags) == 0


def test_sketches_wait_for_embeddings_that_are_being_stored(lessons, monkeypatch):
    monkeypatch.setattr(similarity, "MOST_MISSING", 0)
    execute(lessons.database, delete(tables.embeddings).where(tables.embeddings.c.content_id == 1))
    storing = threading.Thread(target=update_sketches, args=(lessons.database, [lessons.model]))
    with lessons.database.write() as connection:
        taught = TaughtCache(lessons.model.id)
        found = {1: np.ones(DIMENSION, np.float32)}
        ((content_id, version, data),) = compare_batch(connection, taught, found).embeddings
        storing.start()
        wait_until(lambda: waiting(lessons.database))
        row = {"content_id": content_id, "model_id": 1, "taught_version": version, "data": data}
        connection.execute(insert(tables.embeddings).values(row))
    storing.join()
    stored = read_scalar(lessons.database, select(tables.sketches.c.data)) or b""
    assert len(stored) == 4 * (2 + embedding_bytes(similarity.DIMENSIONS))


Change = Callable[[Connection], None]
PARIS = (48.8584, 2.2945)
DAY = 24 * 60
FIRST, SECOND, THIRD = 1, 13, 25  # Photos of three days, in order of their ids


@pytest.fixture
def library(database, tmp_path) -> PositionLibrary:
    library = PositionLibrary.with_tiny_model(database, tmp_path)
    library.camera()
    for number in range(36):
        tags = ((EIFFEL, 0.9, True),) if number in (SECOND - 1, THIRD - 1) else ((EIFFEL, 0.1, False),)
        library.shot(100 * DAY * (number // 12) + 10 * number, *tags, gps=PARIS)
    library.update()
    assert list(check_database(database)) == []
    return library


def image_of(connection: Connection, photo: int) -> int:
    return int(connection.execute(select(photos.c.content_id).where(photos.c.id == photo)).scalar_one())


def take_image(photo: int, of_photo: int) -> Change:
    """Make a photo a copy of another one, as if its file had changed."""

    def change(connection: Connection) -> None:
        values = {"content_id": image_of(connection, of_photo)}
        connection.execute(update(photos).where(photos.c.id == photo).values(values))

    return change


def change_photo(photo: int, **values: object) -> Change:
    def change(connection: Connection) -> None:
        connection.execute(update(photos).where(photos.c.id == photo).values(values))

    return change


def remove(photo: int) -> Change:
    def change(connection: Connection) -> None:
        connection.execute(delete(photos).where(photos.c.id == photo))

    return change


def judge(photo: int, verdict: str) -> Change:
    """Judge the landmark on the image that a photo has now, and settle it."""

    def change(connection: Connection) -> None:
        image = image_of(connection, photo)
        tower = connection.scalar(select(landmarks.c.id).where(landmarks.c.slug == EIFFEL))
        given = {"verdict": verdict, "given_by": "ada", "given_at": CLASSIFIED_AT}
        connection.execute(insert(verdicts).values(content_id=image, landmark_id=tower, **given))
        settle(connection, [image])

    return change


def forget_outcome(photo: int) -> Change:
    """As when the last model that has classified the image is removed."""

    def change(connection: Connection) -> None:
        is_image = contents.c.id == image_of(connection, photo)
        connection.execute(update(contents).where(is_image).values(outcome=None))

    return change


def locate(photo: int) -> Change:
    def change(connection: Connection) -> None:
        rome = {"latitude": 41.89, "longitude": 12.49, "city": "Rome", "country": "Italy"}
        connection.execute(update(positions).where(positions.c.photo_id == photo).values(rome))

    return change


LATER = NOON.replace(month=7)
CHANGES = {
    "an image and presence": (take_image(THIRD, SECOND), change_photo(SECOND, gone_since=CLASSIFIED_AT)),
    "an image and a removal": (take_image(THIRD, SECOND), remove(SECOND)),
    "a day and an image": (change_photo(SECOND, taken_at=LATER), take_image(FIRST, SECOND)),
    "two images": (take_image(SECOND, THIRD + 1), take_image(FIRST, THIRD + 1)),
    "an image and a settlement": (take_image(FIRST, SECOND), judge(SECOND, "rejected")),
    "a copy and a new tag": (take_image(FIRST, SECOND + 1), judge(SECOND + 1, "confirmed")),
    "a copy and its outcome": (take_image(FIRST, SECOND), forget_outcome(SECOND)),
    "a day and a position": (change_photo(SECOND, taken_at=LATER), locate(SECOND)),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if number % 4 else ()) for number, name in enumerate(CHANGES)],
)
def test_what_is_kept_by_day_follows_both_of_two_transactions_that_end_one_after_the_other(library, name):
    early, late = CHANGES[name]
    with library.database.write() as later:
        with library.database.write() as earlier:
            early(earlier)
            late(later)
        library.update()
    library.update()
    assert list(check_database(library.database)) == []


@pytest.mark.postgresql
def test_who_holds_one_lock_keeps_nobody_from_the_others(database):
    """Who adds photos to a job does not wait for one who counts photos."""
    with ExitStack() as transactions:
        for lock in AdvisoryLock:
            take_lock(transactions.enter_context(database.read()), lock)
        with database.read() as late:
            for lock in AdvisoryLock:
                with pytest.raises(LockTimedOut):
                    try_lock(late, lock)
    with database.read() as later:
        try_lock(later, AdvisoryLock.UPDATE_KEPT)
