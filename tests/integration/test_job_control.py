"""Pausing, resuming and cancelling jobs, and removing items of old ones: no outcome is lost."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update
from support.colour_folders import TaggedFolder
from support.databases import execute, read_scalar
from support.ledgers import LedgerBuilder, claim_one

from tagger.database import JobState, Outcome, Runner
from tagger.database.connection import Database
from tagger.database.tables import chunks, job_items, jobs
from tagger.errors import JobFinished, JobNotFound, JobNotPausable
from tagger.jobs.processing import classification
from tagger.jobs.processing.chunk_runner import SHARED_ATTEMPTS, ChunkEnd
from tagger.ledger import NewJob, create_job, finish_scan, job_control, suspend_for_root
from tagger.ledger.chunks import claim_next_chunk
from tagger.ledger.job_control import (
    count_old_items,
    find_job,
    list_recent_jobs,
    recover_stale_jobs,
    remove_old_items,
)
from tagger.ledger.workers import resume_suspended_jobs
from tagger.transfer import found_problems, job_problems

LONG_AGO = datetime.now(UTC) - timedelta(days=100)
CUTOFF = datetime.now(UTC) - timedelta(days=90)


@pytest.fixture
def ledger(database, monkeypatch) -> LedgerBuilder:
    monkeypatch.setattr(job_control, "PAGE", 20)
    return LedgerBuilder(database)


def test_a_scan_continues_while_its_job_is_paused(ledger):
    job = ledger.scanning()
    ledger.append(job, ledger.photos(5))
    job_control.pause(ledger.database, job)
    ledger.append(job, ledger.photos(5))
    finish_scan(ledger.database, job)
    progress = ledger.progress(job)
    assert (progress.state, progress.queued) == (JobState.PAUSED, 10)
    job_control.resume(ledger.database, job)
    assert ledger.progress(job).state is JobState.QUEUED


def test_a_paused_job_stays_paused_after_its_scan_was_interrupted(ledger):
    job = ledger.scanning()
    ledger.append(job, ledger.photos(5))
    job_control.pause(ledger.database, job)
    ledger.owner_died(job)
    silent = ledger.progress(job)
    assert (silent.is_silent, silent.eta_seconds) == (True, None), "nobody works on it"
    recover_stale_jobs(ledger.database)
    progress = ledger.progress(job)
    assert progress.state is JobState.PAUSED
    job_control.resume(ledger.database, job)
    assert "interrupted" in (ledger.progress(job).note or "")


def test_a_suspended_job_can_be_paused_resumed_and_suspended_again(ledger):
    job = ledger.job(5)
    suspend_for_root(ledger.database, job, "share")
    job_control.pause(ledger.database, job)
    resume_suspended_jobs(ledger.database, [job])
    progress = ledger.progress(job)
    assert (progress.state, progress.note) == (JobState.PAUSED, None)
    job_control.resume(ledger.database, job)
    suspend_for_root(ledger.database, job, "share")
    assert ledger.progress(job).state is JobState.WAITING


@pytest.mark.timeout(60)
@pytest.mark.postgresql
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_stale_job_that_is_locked_is_recovered_later(ledger, monkeypatch, caplog):
    monkeypatch.setattr(job_control, "RECOVERY_LOCK_S", 0.2)
    job = ledger.scanning()
    ledger.owner_died(job)
    with ledger.database.write() as other:
        other.execute(select(jobs).with_for_update())
        recover_stale_jobs(ledger.database)
    assert f"Job {job} waits to be recovered: another process has locked it" in caplog.text
    assert ledger.progress(job).state is JobState.SCANNING
    recover_stale_jobs(ledger.database)
    assert ledger.progress(job).state is JobState.FINISHED


def test_finished_unknown_and_local_jobs_raise_errors(ledger):
    finished, local = ledger.job(0), ledger.job(5, runner=Runner.LOCAL)
    for act in (job_control.pause, job_control.resume, job_control.cancel):
        with pytest.raises(JobNotFound, match="99"):
            act(ledger.database, 99)
        with pytest.raises(JobFinished, match="is finished already"):
            act(ledger.database, finished)
    with pytest.raises(JobNotPausable, match=f"tagger job cancel {local}"):
        job_control.pause(ledger.database, local)


def test_the_rest_of_a_paused_job_is_processed_after_it_was_resumed(database, tmp_path, monkeypatch):
    monkeypatch.setattr(classification, "STORE_PHOTOS", 32)
    folder = TaggedFolder(database, tmp_path)
    folder.draw_many(128)
    job = folder.record(runner=Runner.WORKERS)
    executor = folder.executor()
    claims = [claim_next_chunk(database, job, "w") for _ in range(3)]
    job_control.pause(database, job)
    ends = [executor.execute(claim) for claim in claims if claim]
    # Chunks of 32 are done after their first batch; the one of 64 is released.
    assert ends == [ChunkEnd.DONE, ChunkEnd.DONE, ChunkEnd.LOST]
    progress = folder.progress(job)
    assert (progress.state, progress.running) == (JobState.PAUSED, 0)
    assert 64 < progress.tagged < 128
    job_control.resume(database, job)
    claim = claim_one(database, job)
    assert claim.attempts == 1
    assert executor.execute(claim) is ChunkEnd.DONE
    last_step = claim_one(database, job)
    assert executor.execute(last_step) is ChunkEnd.DONE
    executor.close()
    assert (folder.progress(job).state, folder.progress(job).tagged) == (JobState.FINISHED, 128)


def test_a_pause_does_not_count_as_a_crash_of_a_photo(database, tmp_path):
    folder = TaggedFolder(database, tmp_path)
    folder.draw_many(6)
    job = folder.record(runner=Runner.WORKERS)
    executor = folder.executor()
    for _ in range(3):
        execute(database, update(chunks).values(attempts=SHARED_ATTEMPTS))
        claim = claim_one(database, job)
        job_control.pause(database, job)
        assert executor.execute(claim) is ChunkEnd.LOST
        job_control.resume(database, job)
    executor.close()
    assert folder.progress(job).tagged == 3
    open_items = (job_items.c.job_id == job, job_items.c.outcome.is_(None))
    with database.read() as connection:
        assert connection.scalar(select(func.sum(job_items.c.attempts)).where(*open_items)) == 0
        assert connection.scalar(select(chunks.c.attempts)) == SHARED_ATTEMPTS


def test_recent_jobs_are_the_newest_and_all_open_ones(ledger):
    first_open = ledger.job(5)
    finished = [ledger.job(0) for _ in range(3)]
    ledger.claim(first_open)
    recent, older = list_recent_jobs(ledger.database, 2)
    assert [job.job for job in recent] == [finished[2], finished[1], first_open]
    assert older == 1
    assert recent[2].running == 5


def old_job(ledger: LedgerBuilder, count: int) -> int:
    job = ledger.job(count)
    for chunk in range((count + 31) // 32):
        ledger.store(ledger.claim(job, chunk), Outcome.TAGGED)
    execute(ledger.database, update(jobs).where(jobs.c.id == job).values(finished_at=LONG_AGO))
    return job


def positions(database: Database, job: int) -> list[int]:
    with database.read() as connection:
        query = select(job_items.c.position).where(job_items.c.job_id == job)
        return list(connection.scalars(query.order_by(job_items.c.position)))


def problems(database: Database) -> list[str]:
    with database.read() as connection:
        return list(found_problems(connection, *job_problems()))


@pytest.mark.postgresql
def test_items_are_removed_in_pages_and_the_counts_stay(ledger, database):
    old = old_job(ledger, 50)
    recent = ledger.job(5)
    ledger.store(ledger.claim(recent), Outcome.TAGGED)
    before = find_job(database, old)
    assert count_old_items(database, CUTOFF) == (1, 50)
    removed = []
    while count := remove_old_items(database, CUTOFF):
        removed.append(count)
        assert problems(database) == [], "each step leaves a consistent database"
    assert removed == [20, 20, 10]
    assert (positions(database, old), len(positions(database, recent))) == ([], 5)
    assert find_job(database, old) == replace(before, items_removed=50)
    assert count_old_items(database, CUTOFF) == (0, 0)


def test_a_lost_item_is_still_a_problem(ledger, database):
    old = old_job(ledger, 50)
    remove_old_items(database, CUTOFF)
    execute(database, job_items.delete().where(job_items.c.job_id == old, job_items.c.position == 40))
    assert len(problems(database)) == 2


def test_open_jobs_and_those_they_depend_on_keep_their_items(ledger, database):
    ledger.job(5)
    parent = old_job(ledger, 5)
    child = NewJob(ledger.model_id, 5, 0.5, Runner.WORKERS, parent_id=parent)
    child_id = create_job(database, child)
    assert remove_old_items(database, CUTOFF) == 0
    with database.write() as connection:
        over = {"state": JobState.FINISHED, "finished_at": datetime.now(UTC)}
        connection.execute(update(jobs).where(jobs.c.id == child_id).values(over))
    assert remove_old_items(database, CUTOFF) == 5


@pytest.mark.postgresql
def test_several_sweepers_remove_each_item_once(ledger, database):
    for _ in range(6):
        old_job(ledger, 30)

    def remove_all(_: int) -> int:
        total = 0
        for _attempt in range(200):
            count = remove_old_items(database, CUTOFF)
            total += count
            if not count and not count_old_items(database, CUTOFF)[1]:
                break
        return total

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(remove_all, range(4))) == 180
    assert read_scalar(database, select(func.count()).select_from(job_items)) == 0
