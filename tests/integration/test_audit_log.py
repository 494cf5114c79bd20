"""What is recorded of jobs, models, schedules and verdicts, and what receivers of events are told."""

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Row, delete, func, insert, select, update
from support.colour_folders import EIFFEL
from support.databases import audit_entries, execute
from support.ledgers import LedgerBuilder
from support.threads import in_threads

from tagger.database import JobState, Outcome, Priority, Runner, VerdictKind
from tagger.database.connection import (
    KEPT_DAYS,
    Actor,
    AuditAction,
    Database,
    author_text,
    command_line_actor,
    open_database,
    record_action,
    record_event,
)
from tagger.database.tables import audit_log, schedules
from tagger.errors import ScheduleNotFound
from tagger.extensions import Event
from tagger.jobs.enqueue.schedules import (
    add_schedule,
    pause_schedule,
    remove_schedule,
    run_due_schedules,
    run_now,
)
from tagger.jobs.enqueue.submission import Backfill, BackfillScope
from tagger.ledger import WRITE, NewJob, cancel_job, create_job, finish_scan, job_control
from tagger.ledger.job_control import cancel, find_job, list_jobs
from tagger.registry import use_models
from tagger.roots import forget_path
from tagger.settings import Settings
from tagger.verdicts import give_verdicts, withdraw_verdicts
from tagger.verdicts.importing import import_verdicts, read_entries

ADA = Actor("web ada", "192.0.2.7")


def entries(database: Database, *actions: AuditAction) -> list[Row[Any]]:
    """Oldest first."""
    return list(reversed(audit_entries(database, *actions)))


def actions(database: Database) -> list[tuple[str, str | None]]:
    return [(entry.action, entry.subject) for entry in entries(database)]


def test_jobs_are_recorded_with_who_made_and_changed_them(database):
    job = LedgerBuilder(database).job(4)
    by_ada = database.acting_as(ADA)
    job_control.pause(by_ada, job)
    job_control.resume(by_ada, job)
    job_control.cancel(by_ada, job)
    create, *changes = entries(database)
    assert (create.action, create.subject, create.actor) == (
        "job-create",
        str(job),
        command_line_actor().name,
    )
    assert create.details["kind"] == "tag"
    assert [change.action for change in changes] == ["job-pause", "job-resume", "job-cancel"]
    assert {change.actor for change in changes} == {"web ada"}
    assert all(change.details == {"address": "192.0.2.7"} for change in changes)


def test_a_job_keeps_its_author_when_the_audit_log_is_empty(ledger, database):
    by_command = ledger.job(1)
    ledger.database = database.acting_as(ADA)
    by_ada = ledger.job(1)
    execute(database, delete(audit_log))
    assert authors(database) == {by_command: command_line_actor().name, by_ada: "web ada"}


def test_schedules_and_models_are_recorded(folder, database):
    add_schedule(database, "nightly", "0 3 * * *", Backfill(BackfillScope.ALL), Priority.BULK, "UTC")
    pause_schedule(database, "nightly", paused=True)
    pause_schedule(database, "nightly", paused=False)
    remove_schedule(database, "nightly")
    with pytest.raises(ScheduleNotFound):
        remove_schedule(database, "nightly")  # what fails is not recorded
    use_models(database, [folder.model.name])
    name = folder.model.name
    assert actions(database) == [
        ("model-add", name),
        ("schedule-add", "nightly"),
        ("schedule-pause", "nightly"),
        ("schedule-resume", "nightly"),
        ("schedule-remove", "nightly"),
        ("model-use", name),
    ]


def test_imports_are_recorded_once(folder, database):
    folder.draw("a.jpg", 0)
    folder.tag()
    give_verdicts(database, [folder.folder / "a.jpg"], EIFFEL, VerdictKind.REJECTED, "ada", {})
    with database.read() as connection:
        digest = connection.exec_driver_sql("SELECT digest FROM contents").scalar_one()
    given = {"digest": digest, "landmark": EIFFEL, "verdict": "confirmed", "by": "eva", "path": "x"}
    document = json.dumps([given | {"at": "2100-01-01T00:00:00+00:00"}]).encode()
    import_verdicts(database, read_entries(io.BytesIO(document), "x"))
    (entry,) = entries(database, AuditAction.VERDICTS_IMPORT)
    assert entry.details == {"added": 0, "replaced": 1}


def test_forgetting_photos_is_recorded(folder, database):
    for number in range(2):
        folder.draw(f"{number}.jpg", number)
    folder.tag()
    forget_path(database, folder.folder, {}, dry_run=True)
    forget_path(database, folder.folder, {})
    (entry,) = entries(database, AuditAction.PHOTOS_FORGET)
    assert (entry.subject, entry.details) == (str(folder.folder.resolve()), {"photos": 2})


def test_withdrawn_verdicts_are_recorded(folder, database):
    photo = folder.draw("a.jpg", 0)
    folder.tag()
    rejected, by_ada = VerdictKind.REJECTED, database.acting_as(ADA)

    def give() -> None:
        give_verdicts(database, [photo], EIFFEL, rejected, "eva", {})

    give()
    withdraw_verdicts(by_ada, [photo], EIFFEL, rejected, {}, dry_run=True)
    assert entries(database, AuditAction.VERDICTS_WITHDRAW) == []
    withdraw_verdicts(by_ada, [photo], EIFFEL, rejected, {})
    give()
    withdraw_verdicts(by_ada, [1], EIFFEL, rejected, {})
    withdraw_verdicts(by_ada, [photo], EIFFEL, rejected, {})
    recorded = entries(database, AuditAction.VERDICTS_WITHDRAW)
    assert {(entry.actor, entry.subject) for entry in recorded} == {("web ada", EIFFEL)}
    common = {"address": "192.0.2.7", "verdict": "rejected", "count": 1}
    assert [entry.details for entry in recorded] == [common, common]


@pytest.mark.postgresql
def test_old_entries_and_those_above_the_limit_are_removed(database, monkeypatch):
    monkeypatch.setattr("tagger.database.connection.MAX_ENTRIES", 10)
    long_ago = datetime.now(UTC) - timedelta(days=KEPT_DAYS + 1)
    row = {"actor": "a", "action": "job-create", "details": {}}
    execute(database, insert(audit_log), [row | {"at": long_ago} for _ in range(5)])

    def record() -> None:
        for _ in range(10):
            with database.write() as connection:
                record_action(connection, AuditAction.MODEL_USE, "m")

    in_threads([record, record])
    with database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(audit_log)) == 10
        assert connection.scalar(select(func.min(audit_log.c.id))) == 16


def test_the_actor_of_a_command_is_the_systems_user_not_the_environments(monkeypatch):
    real = command_line_actor()
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    assert command_line_actor() == real
    assert real.name.startswith("cli ")


def authors(database: Database) -> dict[int, str | None]:
    return {job.job: job.author for job in list_jobs(database)}


def test_a_job_that_writes_tags_has_the_author_of_its_parent(ledger, database):
    options: dict[str, object] = {WRITE: {"to": "sidecar"}}
    new = NewJob(ledger.model_id, top_k=5, threshold=0.5, runner=Runner.WORKERS, options=options)
    parent = create_job(database.acting_as(ADA), new)
    ledger.append(parent, ledger.photos(1))
    finish_scan(database, parent)
    ledger.store(ledger.claim(parent), Outcome.TAGGED)
    write_job = ledger.progress(parent).write_job
    assert write_job is not None
    assert authors(database) == {parent: "web ada", write_job: "web ada"}


def test_a_run_that_is_due_belongs_to_its_schedule_and_one_on_request_to_a_person(folder, database, tmp_path):
    settings = Settings(data_folder=tmp_path / "data", model=str(folder.model.file))
    folder.draw("a.jpg")
    folder.tag()
    add_schedule(database, "nightly", "* * * * *", Backfill(BackfillScope.ALL), Priority.BULK, "UTC")
    execute(database, update(schedules).values(next_due=datetime.now(UTC) - timedelta(minutes=1)))
    (due,) = run_due_schedules(database.acting_as(Actor("worker tagger-1@rack")), settings)
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
def test_authors_in_words(author, words):
    assert author_text(author) == words


class Diary:
    """Receives these events, and keeps what it is told. `refuses`: it fails."""

    def __init__(self, *events: Event) -> None:
        self.events = events
        self.told: list[tuple[Event, object, Mapping[str, Any]]] = []
        self.refuses = False

    def wants(self, event: Event) -> bool:
        return event in self.events

    def record(self, connection: Connection, event: Event, subject: object, data: Mapping[str, Any]) -> None:
        assert connection.in_transaction()
        if self.refuses:
            raise RuntimeError("no space in the diary")
        self.told.append((event, subject, data))


@pytest.fixture
def diary() -> Diary:
    return Diary(Event.JOB_FINISHED)


@pytest.fixture
def heard(database, database_url, diary) -> Iterator[Database]:
    """The database of a process in which the diary receives events."""
    with closing(open_database(database_url, receivers=lambda: [diary])) as opened:
        yield opened


def test_a_finished_job_is_told_once_with_its_counts(heard, diary):
    ledger = LedgerBuilder(heard)
    job = ledger.job(4)
    claim = ledger.claim(job)
    ledger.store(claim, Outcome.FAILED, 0, 1)
    assert diary.told == []
    ledger.store(claim, Outcome.TAGGED, 1)
    ((event, subject, data),) = diary.told
    assert (event, subject) == (Event.JOB_FINISHED, job)
    facts = {name: data[name] for name in ("job", "state", "total", "tagged", "failed")}
    assert facts == {"job": job, "state": "finished", "total": 4, "tagged": 3, "failed": 1}


def test_a_receiver_that_fails_rolls_its_transaction_back(heard, diary):
    job = LedgerBuilder(heard).job(1)
    diary.refuses = True
    with pytest.raises(RuntimeError, match="no space"):
        cancel(heard, job)
    assert find_job(heard, job).state is JobState.QUEUED
    diary.refuses = False
    cancel(heard, job)
    assert [data["state"] for _, _, data in diary.told] == ["cancelled"]


def test_nobody_is_told_what_they_do_not_want(heard, diary):
    with heard.write() as connection:
        record_event(connection, Event.LANDMARK_FOUND, "eiffel-tower", {})
    assert diary.told == []
