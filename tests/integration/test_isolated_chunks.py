"""Chunks whose workers died: photos fail only if processes that have one of them alone die of it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select, update
from support.ledgers import claim_one
from support.written_folder import WrittenFolder

from tagger.database.connection import Database
from tagger.database.enums import Outcome, Runner
from tagger.database.tables import chunks, job_items
from tagger.errors import FailureKind
from tagger.jobs.processing.chunk_runner import MAX_DEATHS, SHARED_ATTEMPTS
from tagger.ledger.chunks import count_crashes
from tagger.ledger.workers import release_expired

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def folder(database: Database, tmp_path: Path) -> WrittenFolder:
    folder = WrittenFolder(database, tmp_path)
    for number in range(4):
        folder.draw(f"{number}.jpg", number % 2, shade=number)
    return folder


def kill_workers(database: Database, job: int, times: int) -> None:
    """Claim the job's chunk as workers that are killed soon after, its first photo alone if isolated."""
    for _ in range(times):
        claim = claim_one(database, job)
        if claim.attempts > SHARED_ATTEMPTS:
            count_crashes(database, claim, claim.first, +1)
        with database.write() as connection:
            connection.execute(update(chunks).where(chunks.c.job_id == job).values(lease_until=0.0))
        release_expired(database)


def failures(database: Database, job: int) -> list[tuple[int, str]]:
    query = select(job_items.c.position, job_items.c.reason).where(
        job_items.c.job_id == job, job_items.c.outcome == Outcome.FAILED
    )
    with database.read() as connection:
        return [(row.position, row.reason) for row in connection.execute(query)]


def test_a_photo_that_crashes_its_child_fails_alone(
    folder: WrittenFolder, inject: Callable[[str, str], None]
) -> None:
    inject("FAULT_ON_DECODE", "crashes")
    with (folder.folder / "2.jpg").open("ab") as photo:
        photo.write(b"crashes")
    job = folder.record(runner=Runner.WORKERS)
    kill_workers(folder.database, job, SHARED_ATTEMPTS)
    folder.work(job)
    assert failures(folder.database, job) == [(2, FailureKind.CRASHED)]
    assert folder.progress(job).tagged == 3


def test_a_photo_fails_alone_after_several_workers_died_that_had_it_alone(folder: WrittenFolder) -> None:
    job = folder.record(runner=Runner.WORKERS)
    kill_workers(folder.database, job, SHARED_ATTEMPTS + MAX_DEATHS - 1)
    folder.work(job)
    assert folder.progress(job).tagged == 4
    job = folder.record(runner=Runner.WORKERS, reprocess=True)
    kill_workers(folder.database, job, SHARED_ATTEMPTS + MAX_DEATHS)
    folder.work(job)
    assert failures(folder.database, job) == [(0, FailureKind.CRASHED)]
    assert folder.progress(job).tagged == 3


def test_a_metadata_job_survives_killed_workers(folder: WrittenFolder) -> None:
    folder.tag()
    job = folder.create_write_job_for_workers()
    kill_workers(folder.database, job, SHARED_ATTEMPTS + MAX_DEATHS)
    folder.work(job)
    assert failures(folder.database, job) == [(0, FailureKind.CRASHED)]
    assert folder.progress(job).written == 3
