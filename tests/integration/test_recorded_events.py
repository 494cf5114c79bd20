"""Events of jobs and landmarks: receivers get them in their transaction."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import Connection
from support.ledgers import LedgerBuilder

from tagger.database.connection import Database, open_database, record_event
from tagger.database.enums import JobState, Outcome
from tagger.extensions import Event
from tagger.ledger.job_control import cancel, find_job


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
def heard(database: Database, database_url: str, diary: Diary) -> Iterator[Database]:
    """The database of a process in which the diary receives events."""
    with closing(open_database(database_url, receivers=lambda: [diary])) as opened:
        yield opened


def test_a_finished_job_is_told_once_with_its_counts(heard: Database, diary: Diary) -> None:
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


def test_a_cancelled_job_is_told(heard: Database, diary: Diary) -> None:
    job = LedgerBuilder(heard).job(4)
    cancel(heard, job)
    assert [data["state"] for _, _, data in diary.told] == ["cancelled"]


def test_a_receiver_that_fails_rolls_its_transaction_back(heard: Database, diary: Diary) -> None:
    job = LedgerBuilder(heard).job(1)
    diary.refuses = True
    with pytest.raises(RuntimeError, match="no space"):
        cancel(heard, job)
    assert find_job(heard, job).state is JobState.QUEUED
    diary.refuses = False
    cancel(heard, job)
    assert len(diary.told) == 1


def test_nobody_is_told_what_they_do_not_want(heard: Database, diary: Diary) -> None:
    with heard.write() as connection:
        record_event(connection, Event.LANDMARK_FOUND, "eiffel-tower", {})
    assert diary.told == []
