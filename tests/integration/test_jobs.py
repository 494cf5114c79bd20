"""The life of jobs: items in chunks, counts that add up, owners that die; paused, cancelled and removed."""

import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from sqlalchemy import func, select, update
from support.colour_folders import TaggedFolder
from support.databases import execute, read_rows, read_scalar
from support.examples import examples
from support.ledgers import LedgerBuilder, claim_one
from support.threads import in_threads

from tagger.database import JobState, Outcome, Runner
from tagger.database.connection import Database, open_database
from tagger.database.statements import db_now
from tagger.database.tables import chunks, job_items, jobs
from tagger.errors import JobFinished, JobNotFound, JobNotPausable, LeaseLost, ScanInterrupted
from tagger.jobs.processing import classification
from tagger.jobs.processing.chunk_runner import SHARED_ATTEMPTS, ChunkEnd
from tagger.ledger import (
    LEASE_S,
    NewJob,
    create_job,
    finish_scan,
    job_control,
    job_heartbeat,
    process_name,
    process_space,
    suspend_for_root,
)
from tagger.ledger.chunks import Claim, claim_next_chunk, release_chunk
from tagger.ledger.job_control import (
    count_old_items,
    find_job,
    list_recent_jobs,
    pause,
    recover_stale_jobs,
    remove_old_items,
    resume,
)
from tagger.ledger.workers import release_expired, resume_suspended_jobs
from tagger.transfer import found_problems, job_problems

NAMESPACE = str(Path("/proc/self/ns/pid").readlink())
LONG_AGO = datetime.now(UTC) - timedelta(days=100)
CUTOFF = datetime.now(UTC) - timedelta(days=90)


@pytest.fixture
def ledger(database, monkeypatch) -> LedgerBuilder:
    monkeypatch.setattr(job_control, "PAGE", 20)
    return LedgerBuilder(database)


def spans(ledger: LedgerBuilder, job: int) -> list[tuple[int, int]]:
    query = select(chunks.c.first, chunks.c.last).where(chunks.c.job_id == job).order_by(chunks.c.chunk)
    return [(row.first, row.last) for row in read_rows(ledger.database, query)]


def test_chunks_grow_and_a_job_without_open_items_is_finished(ledger):
    job = ledger.scanning()
    for count in (1, 31, 500, 0, 1000):
        ledger.append(job, ledger.photos(count))
    finish_scan(ledger.database, job)
    positions = [position for first, last in spans(ledger, job) for position in range(first, last + 1)]
    assert positions == list(range(1532))
    sizes = [last - first + 1 for first, last in spans(ledger, job)]
    assert sizes == [1, 31, 64, 64, 128, 128, 116, 256, 256, 256, 232]
    assert ledger.progress(job).total == 1532
    empty = ledger.scanning()
    finish_scan(ledger.database, empty)
    assert ledger.progress(empty).state is JobState.FINISHED
    skipped = ledger.scanning()
    ledger.append(skipped, ledger.photos(40), frozenset(range(40)))
    finish_scan(ledger.database, skipped)
    progress = ledger.progress(skipped)
    assert (progress.state, progress.skipped) == (JobState.FINISHED, 40)


def test_a_cancelled_job_keeps_its_outcomes_and_accepts_no_photos(ledger):
    job = ledger.scanning()
    ledger.append(job, ledger.photos(40))
    claim = ledger.claim(job)
    ledger.store(claim, Outcome.FAILED, count=3)
    job_control.cancel(ledger.database, job)
    progress = ledger.progress(job)
    assert (progress.state, progress.failed, progress.cancelled) == (JobState.CANCELLED, 3, 37)
    with pytest.raises(LeaseLost):
        ledger.store(claim, Outcome.TAGGED, first=3)
    with pytest.raises(ScanInterrupted):
        ledger.append(job, ledger.photos(1))
    finish_scan(ledger.database, job)
    assert ledger.progress(job) == progress


@pytest.mark.postgresql
def test_storing_the_last_two_chunks_concurrently_finishes_the_job(ledger):
    for _ in range(10):
        job = ledger.job(64)
        claims = [claim_next_chunk(ledger.database, job, "w") for _ in range(2)]
        barrier = threading.Barrier(2)

        def store(claim: Claim | None, barrier: threading.Barrier = barrier) -> None:
            assert claim is not None
            barrier.wait()
            ledger.store(claim, Outcome.TAGGED)

        in_threads([lambda claim=claim: store(claim) for claim in claims])
        assert ledger.progress(job).state is JobState.FINISHED


@pytest.mark.postgresql
def test_counts_are_right_after_cancelling_while_workers_store(ledger):
    for _ in range(5):
        job = ledger.job(300)
        claims = [claim_next_chunk(ledger.database, job, "w") for _ in spans(ledger, job)]
        barrier = threading.Barrier(len(claims) + 1)

        def store(claim: Claim | None, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            with suppress(LeaseLost):
                for first in range(claim.first, claim.last + 1, 8):
                    ledger.store(claim, Outcome.TAGGED, first=first, count=8)

        def end(job: int = job, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            with suppress(JobFinished):
                job_control.cancel(ledger.database, job)

        in_threads([*(lambda claim=claim: store(claim) for claim in claims), end])
        progress = ledger.progress(job)
        assert progress.is_over
        assert progress.tagged + progress.cancelled == 300


@pytest.mark.postgresql
def test_chunks_are_processed_while_others_are_added(ledger):
    pages = [ledger.photos(70) for _ in range(10)]
    job = ledger.scanning()
    scanned = threading.Event()

    def scan() -> None:
        for page in pages:
            ledger.append(job, page)
        finish_scan(ledger.database, job)
        scanned.set()

    def work() -> None:
        while True:
            over = scanned.is_set()
            new_claims = [claim_next_chunk(ledger.database, job, "w") for _ in range(20)]
            for claim in new_claims:
                if claim is not None:
                    ledger.store(claim, Outcome.TAGGED)
            if over and not any(new_claims):
                return

    in_threads([scan, work, work])
    progress = ledger.progress(job)
    assert (progress.state, progress.tagged) == (JobState.FINISHED, 700)


def test_a_local_job_whose_process_died_is_cancelled(ledger):
    job = ledger.job(40, runner=Runner.LOCAL)
    claim = claim_one(ledger.database, job)
    ledger.store(claim, Outcome.TAGGED, count=10)
    ledger.owner_died(job)
    recover_stale_jobs(ledger.database)
    progress = ledger.progress(job)
    assert (progress.state, progress.tagged, progress.cancelled) == (JobState.CANCELLED, 10, 30)
    assert "the same command finds it again" in (progress.note or "")


def test_a_dead_owner_on_this_machine_is_recovered_at_once(ledger):
    job = ledger.job(5, runner=Runner.LOCAL)
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    dead_owner = f"{process_name().rpartition('/')[0]}/{child}"
    execute(ledger.database, update(jobs).where(jobs.c.id == job).values(owner=dead_owner))
    recover_stale_jobs(ledger.database)
    assert ledger.progress(job).state is JobState.CANCELLED


def test_a_running_owner_on_this_machine_has_time_to_renew_an_expired_lease(ledger):
    job = ledger.job(5, runner=Runner.LOCAL)

    def expire(seconds_ago: float) -> None:
        execute(ledger.database, update(jobs).values(owner_lease_until=db_now() - seconds_ago))

    expire(LEASE_S - 20)
    recover_stale_jobs(ledger.database)
    assert ledger.progress(job).state is JobState.QUEUED
    expire(LEASE_S + 1)
    recover_stale_jobs(ledger.database)
    assert ledger.progress(job).state is JobState.CANCELLED


@pytest.mark.parametrize(
    "space",
    [
        pytest.param(socket.gethostname(), id="recorded by 2.0"),
        pytest.param(f"{socket.gethostname()}/another-boot/{NAMESPACE}", id="before a restart"),
        pytest.param(process_space().replace(NAMESPACE, "pid:[1]"), id="in a container"),
        pytest.param(process_space().replace(socket.gethostname(), "elsewhere"), id="on another machine"),
    ],
)
def test_an_owner_whose_number_says_nothing_here_is_judged_by_its_lease(ledger, space):
    job, unused_number = ledger.job(5, runner=Runner.LOCAL), 2**22 + 1

    def own(lease_s: float) -> None:
        owner = {"owner": f"{space}/{unused_number}", "owner_lease_until": db_now() + lease_s}
        execute(ledger.database, update(jobs).where(jobs.c.id == job).values(owner))
        recover_stale_jobs(ledger.database)

    own(lease_s=1)
    assert ledger.progress(job).state is JobState.QUEUED
    own(lease_s=-1)
    assert ledger.progress(job).state is JobState.CANCELLED


RECOVER = (
    "import sys; from tagger.database.connection import open_database;"
    "from tagger.ledger.job_control import recover_stale_jobs; recover_stale_jobs(open_database(sys.argv[1]))"
)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes PID namespaces")
def test_a_process_that_does_not_see_the_owner_leaves_its_job_alone(tmp_path):
    url = f"sqlite:///{tmp_path / 'tagger.sqlite'}"
    ledger = LedgerBuilder(open_database(url))
    job = ledger.job(5, runner=Runner.LOCAL)
    container = ("unshare", "--pid", "--fork", "--mount-proc")
    subprocess.run([*container, sys.executable, "-c", RECOVER, url], check=True, timeout=60)
    assert ledger.progress(job).state is JobState.QUEUED
    ledger.database.close()


def test_the_items_of_an_interrupted_scan_are_queued_and_it_adds_no_more(ledger):
    job = ledger.scanning()
    ledger.append(job, ledger.photos(10))
    ledger.owner_died(job)
    recover_stale_jobs(ledger.database)
    progress = ledger.progress(job)
    assert (progress.state, progress.queued) == (JobState.QUEUED, 10)
    assert "interrupted" in (progress.note or "")
    with pytest.raises(ScanInterrupted, match=f"Job {job}"):
        ledger.append(job, ledger.photos(10))
    claim = ledger.claim(job)
    ledger.store(claim, Outcome.TAGGED)
    assert ledger.progress(job).state is JobState.FINISHED


def test_the_heartbeat_renews_the_lease_of_a_blocked_process(ledger, monkeypatch):
    monkeypatch.setattr("tagger.ledger.RENEW_S", 0.01)
    job = ledger.scanning()
    execute(ledger.database, update(jobs).where(jobs.c.id == job).values(owner_lease_until=0.0))
    with job_heartbeat(ledger.database, job):
        while True:
            with ledger.database.read() as connection:
                if connection.scalar(select(jobs.c.owner_lease_until).where(jobs.c.id == job)):
                    break
    recover_stale_jobs(ledger.database)
    assert ledger.progress(job).state is JobState.SCANNING


@pytest.fixture(scope="module")
def sqlite_ledger(tmp_path_factory) -> LedgerBuilder:
    return LedgerBuilder(open_database(f"sqlite:///{tmp_path_factory.mktemp('random') / 'tagger.sqlite'}"))


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *("claim", "store", "late", "release", "expire", "return", "append", "scanned", "cancel"),
                *("pause", "resume"),
            ]
        ),
        st.integers(0, 5),
        st.integers(1, 40),
        st.sampled_from([Outcome.TAGGED, Outcome.UNKNOWN, Outcome.SKIPPED, Outcome.FAILED]),
    ),
    max_size=25,
)


@pytest.mark.postgresql
@examples(4)
@given(steps=STEPS)
def test_item_counts_add_up_after_any_steps(sqlite_ledger, steps):
    ledger = sqlite_ledger
    job = ledger.scanning()
    ledger.append(job, ledger.photos(70))
    claims: list[Claim] = []
    for step, number, count, outcome in steps:
        take_step(ledger, job, claims, step, number, count, outcome)
        ledger.progress(job)
    finish_scan(ledger.database, job)
    with suppress(JobFinished):
        resume(ledger.database, job)
    while claim := claim_next_chunk(ledger.database, job, "w"):
        ledger.store(claim, Outcome.TAGGED)
    ledger.expire(job)
    release_expired(ledger.database)
    while claim := claim_next_chunk(ledger.database, job, "w"):
        ledger.store(claim, Outcome.TAGGED)
    progress = ledger.progress(job)
    assert progress.is_over
    assert (progress.queued, progress.running) == (0, 0)


def take_step(
    ledger: LedgerBuilder, job: int, claims: list[Claim], step: str, number: int, count: int, outcome: Outcome
) -> None:
    selected = claims[number % len(claims)] if claims else None
    match step:
        case "claim":
            if claim := claim_next_chunk(ledger.database, job, "w"):
                claims.append(claim)
        case "store" | "late" if selected:
            try:
                ledger.store(selected, outcome, first=selected.first + number, count=count)
            except LeaseLost:
                claims.remove(selected)
        case "release" if selected:
            release_chunk(ledger.database, selected)
        case "expire":
            ledger.expire(job)
        case "return":
            release_expired(ledger.database)
        case "append":
            with suppress(ScanInterrupted):
                ledger.append(job, ledger.photos(count), frozenset({0, number}))
        case "scanned":
            finish_scan(ledger.database, job)
        case "pause" | "resume":
            with suppress(JobFinished):
                (pause if step == "pause" else resume)(ledger.database, job)
        case "cancel" if number == 0:
            with suppress(JobFinished):
                job_control.cancel(ledger.database, job)


def test_a_scan_continues_while_its_job_is_paused(ledger):
    job = ledger.scanning()
    ledger.append(job, ledger.photos(5))
    pause(ledger.database, job)
    ledger.append(job, ledger.photos(5))
    finish_scan(ledger.database, job)
    progress = ledger.progress(job)
    assert (progress.state, progress.queued) == (JobState.PAUSED, 10)
    resume(ledger.database, job)
    assert ledger.progress(job).state is JobState.QUEUED


def test_a_paused_job_stays_paused_after_its_scan_was_interrupted(ledger):
    job = ledger.scanning()
    ledger.append(job, ledger.photos(5))
    pause(ledger.database, job)
    ledger.owner_died(job)
    silent = ledger.progress(job)
    assert (silent.is_silent, silent.eta_seconds) == (True, None), "nobody works on it"
    recover_stale_jobs(ledger.database)
    progress = ledger.progress(job)
    assert progress.state is JobState.PAUSED
    resume(ledger.database, job)
    assert "interrupted" in (ledger.progress(job).note or "")


def test_a_suspended_job_can_be_paused_resumed_and_suspended_again(ledger):
    job = ledger.job(5)
    suspend_for_root(ledger.database, job, "share")
    pause(ledger.database, job)
    resume_suspended_jobs(ledger.database, [job])
    progress = ledger.progress(job)
    assert (progress.state, progress.note) == (JobState.PAUSED, None)
    resume(ledger.database, job)
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
        pause(ledger.database, local)


def test_the_rest_of_a_paused_job_is_processed_after_it_was_resumed(database, tmp_path, monkeypatch):
    monkeypatch.setattr(classification, "STORE_PHOTOS", 32)
    folder = TaggedFolder(database, tmp_path)
    folder.draw_many(128)
    job = folder.record(runner=Runner.WORKERS)
    executor = folder.executor()
    claims = [claim_next_chunk(database, job, "w") for _ in range(3)]
    pause(database, job)
    ends = [executor.execute(claim) for claim in claims if claim]
    # Chunks of 32 are done after their first batch; the one of 64 is released.
    assert ends == [ChunkEnd.DONE, ChunkEnd.DONE, ChunkEnd.LOST]
    progress = folder.progress(job)
    assert (progress.state, progress.running) == (JobState.PAUSED, 0)
    assert 64 < progress.tagged < 128
    resume(database, job)
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
        pause(database, job)
        assert executor.execute(claim) is ChunkEnd.LOST
        resume(database, job)
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
