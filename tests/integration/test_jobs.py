"""The life of jobs: items in chunks, counts that add up, owners that die."""

import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from sqlalchemy import select, update
from support.databases import execute, read_rows
from support.examples import examples
from support.ledgers import LedgerBuilder, claim_one
from support.threads import in_threads

from tagger.database import JobState, Outcome, Runner
from tagger.database.connection import Database, open_database
from tagger.database.statements import db_now
from tagger.database.tables import chunks, jobs
from tagger.errors import JobFinished, LeaseLost, ScanInterrupted
from tagger.ledger import LEASE_S, cancel_job, finish_scan, job_heartbeat, process_name, process_space
from tagger.ledger.chunks import Claim, claim_next_chunk, release_chunk
from tagger.ledger.job_control import pause, recover_stale_jobs, resume
from tagger.ledger.workers import release_expired

NAMESPACE = str(Path("/proc/self/ns/pid").readlink())


def spans(ledger: LedgerBuilder, job: int) -> list[tuple[int, int]]:
    query = select(chunks.c.first, chunks.c.last).where(chunks.c.job_id == job).order_by(chunks.c.chunk)
    return [(row.first, row.last) for row in read_rows(ledger.database, query)]


def cancel(database: Database, job: int) -> None:
    with database.write() as connection:
        cancel_job(connection, job, "by request")


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
    cancel(ledger.database, job)
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
            cancel(ledger.database, job)

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
            cancel(ledger.database, job)
