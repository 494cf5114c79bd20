"""Jobs that people pause, resume and cancel: nothing is lost, counted twice, or taken for a failed attempt."""

from contextlib import suppress
from pathlib import Path

import pytest
from folders import TaggedFolder
from ledgers import LedgerOf
from sqlalchemy import func, select, update
from threads import in_threads

from tagger import chunk_work
from tagger.chunk_work import SAFE_ATTEMPTS
from tagger.database import Database
from tagger.errors import JobNotFound, JobNotPausable, JobOver, LeaseLost
from tagger.holding import ChunkEnd
from tagger.ledger import steering
from tagger.ledger.abandoned import settle_abandoned
from tagger.ledger.chunks import ChunkName, Claim, claim, claim_next
from tagger.ledger.dispatch import mark_sent, return_expired, unsent, wake
from tagger.ledger.jobs import finish_scan, wait_for_root
from tagger.ledger.progress import list_held, list_jobs, list_latest
from tagger.tables import JobState, Outcome, Runner, chunks, job_items


@pytest.fixture
def ledger(database: Database) -> LedgerOf:
    return LedgerOf(database)


def take(ledger: LedgerOf, job: int, number: int = 0) -> Claim:
    claimed = claim(ledger.database, ChunkName(job, number), Runner.WORKERS, "w")
    assert claimed is not None
    return claimed


def attempts(ledger: LedgerOf, job: int) -> list[int]:
    query = select(chunks.c.attempts).where(chunks.c.job_id == job).order_by(chunks.c.chunk)
    with ledger.database.read() as connection:
        return list(connection.scalars(query))


def test_the_batch_in_hand_of_a_paused_job_is_stored_and_its_chunk_given_back(ledger: LedgerOf) -> None:
    job = ledger.job(32)
    claimed = take(ledger, job)
    steering.pause(ledger.database, job)
    ledger.store(claimed, Outcome.TAGGED, count=10)
    progress = ledger.progress(job)
    assert (progress.state, progress.tagged, progress.running, progress.queued) == (
        JobState.PAUSED,
        10,
        0,
        22,
    )
    with pytest.raises(LeaseLost):
        ledger.store(claimed, Outcome.TAGGED, first=10)
    assert attempts(ledger, job) == [0]
    assert claim(ledger.database, claimed.name, Runner.WORKERS, "w") is None


def test_a_resumed_job_is_sent_again_though_its_messages_were_thrown_away(ledger: LedgerOf) -> None:
    job = ledger.job(40)
    mark_sent(ledger.database, unsent(ledger.database))
    steering.pause(ledger.database, job)
    assert unsent(ledger.database) == []
    assert claim(ledger.database, ChunkName(job, 0), Runner.WORKERS, "w") is None
    assert steering.resume(ledger.database, job)
    assert [waiting.name.chunk for waiting in unsent(ledger.database)] == [0, 1]
    assert ledger.progress(job).state is JobState.QUEUED
    assert not steering.resume(ledger.database, job)


def test_a_job_whose_last_batch_was_in_hand_when_it_was_paused_is_finished(ledger: LedgerOf) -> None:
    job = ledger.job(32)
    claimed = take(ledger, job)
    steering.pause(ledger.database, job)
    ledger.store(claimed, Outcome.TAGGED)
    assert ledger.progress(job).state is JobState.FINISHED


def test_a_scan_goes_on_for_a_paused_job_and_the_job_stays_paused(ledger: LedgerOf) -> None:
    job = ledger.scanning()
    ledger.append(job, ledger.photos(5))
    steering.pause(ledger.database, job)
    ledger.append(job, ledger.photos(5))
    finish_scan(ledger.database, job)
    progress = ledger.progress(job)
    assert (progress.state, progress.queued) == (JobState.PAUSED, 10)
    steering.resume(ledger.database, job)
    assert ledger.progress(job).state is JobState.QUEUED


def test_a_job_resumed_while_it_is_scanned_does_not_end_before_its_scan(ledger: LedgerOf) -> None:
    job = ledger.scanning()
    ledger.append(job, ledger.photos(5))
    steering.pause(ledger.database, job)
    steering.resume(ledger.database, job)
    ledger.store(take(ledger, job), Outcome.TAGGED)
    assert ledger.progress(job).state is JobState.SCANNING
    finish_scan(ledger.database, job)
    assert ledger.progress(job).state is JobState.FINISHED


def test_a_paused_job_whose_scan_was_cut_off_stays_paused(ledger: LedgerOf) -> None:
    job = ledger.scanning()
    ledger.append(job, ledger.photos(5))
    steering.pause(ledger.database, job)
    ledger.owner_died(job)
    settle_abandoned(ledger.database)
    progress = ledger.progress(job)
    assert progress.state is JobState.PAUSED
    steering.resume(ledger.database, job)
    assert "cut off" in (ledger.progress(job).note or "")


def test_a_job_that_waits_for_a_root_can_be_paused_and_may_wait_again(ledger: LedgerOf) -> None:
    job = ledger.job(5)
    wait_for_root(ledger.database, job, "share")
    steering.pause(ledger.database, job)
    wake(ledger.database, [job])
    progress = ledger.progress(job)
    assert (progress.state, progress.note) == (JobState.PAUSED, None)
    steering.resume(ledger.database, job)
    wait_for_root(ledger.database, job, "share")
    assert ledger.progress(job).state is JobState.WAITING


def test_a_worker_that_dies_with_a_paused_chunk_leaves_it_to_whoever_comes_after(ledger: LedgerOf) -> None:
    job = ledger.job(5)
    take(ledger, job)
    steering.pause(ledger.database, job)
    ledger.expire(job)
    return_expired(ledger.database)
    assert ledger.progress(job).running == 0
    steering.resume(ledger.database, job)
    ledger.store(take(ledger, job), Outcome.TAGGED)
    assert ledger.progress(job).state is JobState.FINISHED


def test_what_cannot_be_steered_says_why(ledger: LedgerOf) -> None:
    over, local = ledger.job(0), ledger.job(5, runner=Runner.LOCAL)
    for steer in (steering.pause, steering.resume, steering.cancel):
        with pytest.raises(JobNotFound, match="99"):
            steer(ledger.database, 99)
        with pytest.raises(JobOver, match="is finished already"):
            steer(ledger.database, over)
    with pytest.raises(JobNotPausable, match=f"tagger cancel {local}"):
        steering.pause(ledger.database, local)


def test_a_local_job_is_cancelled_under_the_process_that_runs_it(ledger: LedgerOf) -> None:
    job = ledger.job(40, runner=Runner.LOCAL)
    claimed = claim_next(ledger.database, job, "w")
    assert claimed is not None
    ledger.store(claimed, Outcome.TAGGED, count=3)
    steering.cancel(ledger.database, job)
    assert claim_next(ledger.database, job, "w") is None
    with pytest.raises(LeaseLost):
        ledger.store(claimed, Outcome.TAGGED, first=3)
    progress = ledger.progress(job)
    assert (progress.state, progress.tagged, progress.cancelled) == (JobState.CANCELLED, 3, 37)


def test_pausing_and_resuming_while_workers_store_loses_and_doubles_nothing(ledger: LedgerOf) -> None:
    job = ledger.job(600)
    numbers = range(len(attempts(ledger, job)))

    def work(share: int) -> None:
        while not list_jobs(ledger.database, job)[0].is_over:
            for number in numbers[share::2]:
                if claimed := claim(ledger.database, ChunkName(job, number), Runner.WORKERS, f"w{share}"):
                    with suppress(LeaseLost):
                        for first in range(claimed.first, claimed.last + 1, 16):
                            ledger.store(claimed, Outcome.TAGGED, first=first, count=16)

    def steer() -> None:
        with suppress(JobOver):
            for _ in range(20):
                steering.pause(ledger.database, job)
                steering.resume(ledger.database, job)

    in_threads([lambda: work(0), lambda: work(1), steer])
    progress = ledger.progress(job)
    assert (progress.state, progress.tagged) == (JobState.FINISHED, 600)


def folder_of(database: Database, place: Path, photos: int) -> TaggedFolder:
    folder = TaggedFolder(database, place)
    for number in range(photos):
        folder.draw(f"{number:03}.jpg", shade=number)
    return folder


def test_what_a_worker_has_stored_of_a_paused_job_stays_and_the_rest_is_done_later(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunk_work, "STORE_PHOTOS", 32)
    folder = folder_of(database, tmp_path, 128)
    job = folder.record(runner=Runner.WORKERS)
    tagger = folder.tagger()
    held = [claim(database, ChunkName(job, number), Runner.WORKERS, "w") for number in (0, 1, 2)]
    steering.pause(database, job)
    ends = [tagger.tag_chunk(claimed) for claimed in held if claimed]
    # Chunks of 32 are done with their first batch; that of 64 is given back.
    assert ends == [ChunkEnd.DONE, ChunkEnd.DONE, ChunkEnd.LOST]
    progress = folder.progress(job)
    assert (progress.state, progress.running) == (JobState.PAUSED, 0)
    assert 64 < progress.tagged < 128
    steering.resume(database, job)
    claimed = claim(database, ChunkName(job, 2), Runner.WORKERS, "w")
    assert claimed is not None
    assert claimed.attempts == 1
    assert tagger.tag_chunk(claimed) is ChunkEnd.DONE
    tagger.close()
    assert (folder.progress(job).state, folder.progress(job).tagged) == (JobState.FINISHED, 128)


def test_a_pause_is_no_death_of_a_photo_that_is_alone_in_hand(database: Database, tmp_path: Path) -> None:
    folder = folder_of(database, tmp_path, 6)
    job = folder.record(runner=Runner.WORKERS)
    tagger = folder.tagger()
    for _ in range(3):
        with database.write() as connection:
            connection.execute(update(chunks).values(attempts=SAFE_ATTEMPTS))
        claimed = claim(database, ChunkName(job, 0), Runner.WORKERS, "w")
        assert claimed is not None
        steering.pause(database, job)
        assert tagger.tag_chunk(claimed) is ChunkEnd.LOST
        steering.resume(database, job)
    tagger.close()
    assert folder.progress(job).tagged == 3
    open_items = (job_items.c.job_id == job, job_items.c.outcome.is_(None))
    with database.read() as connection:
        assert connection.scalar(select(func.sum(job_items.c.attempts)).where(*open_items)) == 0
        assert connection.scalar(select(chunks.c.attempts)) == SAFE_ATTEMPTS


def test_the_newest_and_all_open_jobs_are_listed_and_older_ones_counted(ledger: LedgerOf) -> None:
    first_open = ledger.job(5)
    over = [ledger.job(0) for _ in range(3)]
    take(ledger, first_open)
    shown, older = list_latest(ledger.database, 2)
    assert [job.job for job in shown] == [over[2], over[1], first_open]
    assert older == 1
    (held,) = list_held(ledger.database)
    assert (held.worker, held.job, held.chunk, held.stored, held.photos) == ("w", first_open, 0, 0, 5)
