"""What happens on PostgreSQL between the moments at which a job, or an update of trips, reads and ends."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text, update
from support.colour_folders import EIFFEL, TaggedFolder
from support.ledgers import claim_one
from support.stored_photos import CLASSIFIED_AT
from support.threads import wait_until

from tagger.database.changed_days import ChangedDay, are_due, record_days
from tagger.database.connection import Database, open_database
from tagger.database.enums import JobState, KeptStep, Runner
from tagger.database.tables import chunks, contents, landmarks, verdicts
from tagger.kept.days import BEFORE_ALL
from tagger.kept.stored_trips import store_trips
from tagger.ledger.jobs import finish_job
from tagger.tags.settlement import settle


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    with closing(open_database(postgres_url)) as database:
        yield database


def started(database: Database, work: Callable[[], object]) -> threading.Thread:
    """A thread that has done the work, or waits for a lock."""
    thread = threading.Thread(target=work)
    thread.start()

    def is_waiting() -> bool:
        with database.read() as connection:
            waiting = connection.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted"))
        return bool(waiting) or not thread.is_alive()

    wait_until(is_waiting)
    return thread


def test_a_job_that_ends_while_a_verdict_is_given_counts_its_photo_as_all_others_do(
    database: Database, tmp_path: Path
) -> None:
    folder = TaggedFolder(database, tmp_path)
    folder.draw("tower.jpg")
    job = folder.record(runner=Runner.WORKERS)
    claim = claim_one(database, job)
    executor = folder.executor()
    executor.execute(claim)
    executor.close()
    with database.write() as connection:
        connection.execute(update(chunks).values(done=True))
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


def test_trips_that_change_while_their_photos_are_located_stay_due(database: Database) -> None:
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
