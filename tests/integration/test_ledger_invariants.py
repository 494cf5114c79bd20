"""The check of the ledger's invariants detects every violation."""

from collections.abc import Callable

import pytest
from rig.ledger_invariants import job_violations, library_violations
from sqlalchemy import Connection, insert, update
from support.ledgers import LedgerBuilder

from tagger.database.connection import Database
from tagger.database.enums import Outcome
from tagger.database.tables import chunks, contents, job_items, jobs, photos

pytestmark = pytest.mark.postgresql


@pytest.fixture
def finished_job(database: Database) -> int:
    """A correctly finished job of two chunks. All photos failed, as they have no content."""
    ledger = LedgerBuilder(database)
    job = ledger.job(40)
    for number in (0, 1):
        claimed = ledger.claim(job, number)
        ledger.store(claimed, Outcome.FAILED)
    return job


def test_a_job_that_ended_as_it_should_has_no_wrong_sums(database: Database, finished_job: int) -> None:
    assert job_violations(database, finished_job) == []
    assert library_violations(database) == []


def _delete_outcome(connection: Connection) -> None:
    connection.execute(update(job_items).where(job_items.c.position == 3).values(outcome=None))


def _count_twice(connection: Connection) -> None:
    connection.execute(update(chunks).where(chunks.c.chunk == 1).values(failed=chunks.c.failed + 1))


def _delete_item(connection: Connection) -> None:
    connection.execute(job_items.delete().where(job_items.c.position == 39))


def _duplicate_photo(connection: Connection) -> None:
    connection.execute(update(job_items).where(job_items.c.position == 1).values(photo_id=1))
    connection.execute(update(job_items).where(job_items.c.position == 0).values(photo_id=1))


def _reopen_job(connection: Connection) -> None:
    connection.execute(update(jobs).values(state="running"))


def _set_lease(connection: Connection) -> None:
    connection.execute(update(chunks).where(chunks.c.chunk == 0).values(lease_until=1.0))


@pytest.mark.parametrize(
    "damage",
    [
        _delete_outcome,
        _count_twice,
        _delete_item,
        _duplicate_photo,
        _reopen_job,
        _set_lease,
    ],
)
def test_damage_to_a_job_is_found(
    database: Database, finished_job: int, damage: Callable[[Connection], None]
) -> None:
    with database.write() as connection:
        damage(connection)
    assert job_violations(database, finished_job) != []


def test_a_classified_photo_without_result_is_detected(database: Database, finished_job: int) -> None:
    with database.write() as connection:
        connection.execute(update(job_items).where(job_items.c.position == 5).values(outcome="tagged"))
        statement = insert(contents).values(digest="d", outcome="tagged").returning(contents.c.id)
        content = connection.execute(statement).scalar_one()
        connection.execute(update(photos).where(photos.c.path.endswith("7.jpg")).values(content_id=content))
    violations = library_violations(database)
    assert [each for each in violations if "is classified and has no content" in each]
    assert "content d is tagged and has no tag" in violations
