"""The checker of the ledger's invariants detects every violation."""

from collections.abc import Callable

import pytest
from sqlalchemy import Connection, insert, update
from support.ledger_invariants import job_violations, library_violations
from support.ledgers import LedgerBuilder

from tagger.database.connection import Database
from tagger.database.tables import Outcome, Runner, chunks, contents, job_items, jobs, photos
from tagger.ledger.chunks import ChunkName, claim_chunk


@pytest.fixture
def ended(database: Database) -> int:
    """A job of two chunks that ended as it should: all photos failed, for these have no content."""
    ledger = LedgerBuilder(database)
    job = ledger.job(40)
    for number in (0, 1):
        claimed = claim_chunk(database, ChunkName(job, number), Runner.WORKERS, "w")
        assert claimed is not None
        ledger.store(claimed, Outcome.FAILED)
    return job


def test_a_job_that_ended_as_it_should_has_no_wrong_sums(database: Database, ended: int) -> None:
    assert job_violations(database, ended) == []
    assert library_violations(database) == []


def _lose_an_outcome(connection: Connection) -> None:
    connection.execute(update(job_items).where(job_items.c.position == 3).values(outcome=None))


def _count_one_twice(connection: Connection) -> None:
    connection.execute(update(chunks).where(chunks.c.chunk == 1).values(failed=chunks.c.failed + 1))


def _lose_an_item(connection: Connection) -> None:
    connection.execute(job_items.delete().where(job_items.c.position == 39))


def _have_a_photo_twice(connection: Connection) -> None:
    connection.execute(update(job_items).where(job_items.c.position == 1).values(photo_id=1))
    connection.execute(update(job_items).where(job_items.c.position == 0).values(photo_id=1))


def _leave_it_open(connection: Connection) -> None:
    connection.execute(update(jobs).values(state="running"))


def _leave_a_lease(connection: Connection) -> None:
    connection.execute(update(chunks).where(chunks.c.chunk == 0).values(lease_until=1.0))


@pytest.mark.parametrize(
    "damage",
    [
        _lose_an_outcome,
        _count_one_twice,
        _lose_an_item,
        _have_a_photo_twice,
        _leave_it_open,
        _leave_a_lease,
    ],
)
def test_damage_to_a_job_is_found(
    database: Database, ended: int, damage: Callable[[Connection], None]
) -> None:
    with database.write() as connection:
        damage(connection)
    assert job_violations(database, ended) != []


def test_a_classified_photo_without_result_is_detected(database: Database, ended: int) -> None:
    with database.write() as connection:
        connection.execute(update(job_items).where(job_items.c.position == 5).values(outcome="tagged"))
        looked = insert(contents).values(digest="d", outcome="tagged").returning(contents.c.id)
        content = connection.execute(looked).scalar_one()
        connection.execute(update(photos).where(photos.c.path.endswith("7.jpg")).values(content_id=content))
    wrong = library_violations(database)
    assert [each for each in wrong if "is classified and has no content" in each]
    assert "content d is tagged and has no tag" in wrong
