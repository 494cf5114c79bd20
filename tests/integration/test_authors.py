"""Jobs and shares say who made them, also when the audit log no longer has the entry."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, update
from support.colour_folders import TaggedFolder
from support.ledgers import LedgerBuilder

from tagger.database.connection import Actor, Database, author_text, command_line_actor
from tagger.database.enums import Outcome, Priority, Runner
from tagger.database.tables import audit_log, schedules
from tagger.jobs.enqueue.backfill import Backfill, BackfillScope
from tagger.jobs.enqueue.schedule_runs import run_due_schedules, run_now
from tagger.jobs.enqueue.schedules import add_schedule
from tagger.ledger.jobs import WRITE, NewJob, cancel_job, create_job, finish_scan
from tagger.ledger.progress import list_jobs
from tagger.settings import Settings

ADA = Actor("web ada", "192.0.2.7", is_person=True)
BEAT = Actor("worker tagger-1@rack")


def authors(database: Database) -> dict[int, str | None]:
    return {job.job: job.author for job in list_jobs(database)}


def test_a_job_keeps_its_author_when_the_audit_log_is_empty(database: Database) -> None:
    ledger = LedgerBuilder(database)
    by_command = ledger.job(1)
    ledger.database = database.acting_as(ADA)
    by_ada = ledger.job(1)
    with database.write() as connection:
        connection.execute(delete(audit_log))
    assert authors(database) == {by_command: command_line_actor().name, by_ada: "web ada"}


def test_a_job_that_writes_tags_has_the_author_of_its_parent(database: Database) -> None:
    ledger = LedgerBuilder(database)
    options: dict[str, object] = {WRITE: {"to": "sidecar"}}
    new = NewJob(ledger.model_id, top_k=5, threshold=0.5, runner=Runner.WORKERS, options=options)
    parent = create_job(database.acting_as(ADA), new)
    ledger.append(parent, ledger.photos(1))
    finish_scan(database, parent)
    ledger.store(ledger.claim(parent), Outcome.TAGGED)
    write_job = ledger.progress(parent).write_job
    assert write_job is not None
    assert authors(database) == {parent: "web ada", write_job: "web ada"}


@pytest.mark.postgresql
def test_a_run_that_is_due_belongs_to_its_schedule_and_one_on_request_to_a_person(
    database: Database, tmp_path: Path
) -> None:
    folder = TaggedFolder(database, tmp_path)
    settings = Settings(data_folder=tmp_path / "data", model=str(folder.model.file))
    folder.draw("a.jpg")
    folder.tag()
    add_schedule(database, "nightly", "* * * * *", Backfill(BackfillScope.ALL), Priority.BULK, "UTC")
    with database.write() as connection:
        connection.execute(update(schedules).values(next_due=datetime.now(UTC) - timedelta(minutes=1)))
    (due,) = run_due_schedules(database.acting_as(BEAT), settings)
    assert due.job is not None
    with database.write() as connection:
        cancel_job(connection, due.job, "by request")
    requested = run_now(database.acting_as(ADA), settings, "nightly")
    found = authors(database)
    assert requested.job is not None
    assert (found[due.job], found[requested.job]) == ("schedule nightly", "web ada")


@pytest.mark.parametrize(
    ("author", "words"),
    [
        (None, ""),
        ("web", ""),
        ("web ada", "ada"),
        ("cli ada@laptop", "ada@laptop (command)"),
        ("schedule every night", "schedule every night"),
        ("worker tagger-1@rack", "worker tagger-1@rack"),
    ],
)
def test_authors_in_words(author: str | None, words: str) -> None:
    assert author_text(author) == words
