"""Jobs from their making to their end: items in chunks, numbers that add up, processes that die on the way."""

import os
import threading
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledgers import LedgerOf
from sqlalchemy import select, update
from threads import in_threads

from tagger.database import Database, open_database
from tagger.errors import JobOver, LeaseLost, ScanEnded
from tagger.ledger.abandoned import settle_abandoned
from tagger.ledger.chunks import ChunkName, Claim, claim, claim_next, release
from tagger.ledger.dispatch import return_expired, wake
from tagger.ledger.jobs import cancel_job, finish_scan, kept_alive, process_name, wait_for_root
from tagger.ledger.steering import pause, resume
from tagger.tables import JobState, Outcome, Runner, chunks, jobs


@pytest.fixture
def ledger(database: Database) -> LedgerOf:
    return LedgerOf(database)


def spans(ledger: LedgerOf, job: int) -> list[tuple[int, int]]:
    query = select(chunks.c.first, chunks.c.last).where(chunks.c.job_id == job).order_by(chunks.c.chunk)
    with ledger.database.read() as connection:
        return [(row.first, row.last) for row in connection.execute(query)]


def cancel(database: Database, job: int) -> None:
    with database.write() as connection:
        cancel_job(connection, job, "by request")


def test_chunks_grow_and_cover_all_positions_densely_over_several_pages(ledger: LedgerOf) -> None:
    job = ledger.scanning()
    for count in (1, 31, 500, 0, 1000):
        ledger.append(job, ledger.photos(count))
    finish_scan(ledger.database, job)
    covered = [position for first, last in spans(ledger, job) for position in range(first, last + 1)]
    assert covered == list(range(1532))
    sizes = [last - first + 1 for first, last in spans(ledger, job)]
    assert sizes == [1, 31, 64, 64, 128, 128, 116, 256, 256, 256, 232]
    assert ledger.progress(job).total == 1532


def test_a_job_without_photos_or_without_anything_to_do_is_finished_at_once(ledger: LedgerOf) -> None:
    empty = ledger.scanning()
    finish_scan(ledger.database, empty)
    assert ledger.progress(empty).state is JobState.FINISHED
    skipped = ledger.scanning()
    ledger.append(skipped, ledger.photos(40), frozenset(range(40)))
    finish_scan(ledger.database, skipped)
    progress = ledger.progress(skipped)
    assert (progress.state, progress.skipped) == (JobState.FINISHED, 40)


def test_a_job_is_worked_on_while_it_is_scanned_and_does_not_end_before_its_scan(ledger: LedgerOf) -> None:
    job = ledger.scanning()
    ledger.append(job, ledger.photos(10))
    claimed = claim(ledger.database, ChunkName(job, 0), Runner.WORKERS, "w")
    assert claimed is not None
    ledger.store(claimed, Outcome.TAGGED)
    assert ledger.progress(job).state is JobState.SCANNING
    ledger.append(job, ledger.photos(5))
    finish_scan(ledger.database, job)
    assert ledger.progress(job).state is JobState.RUNNING
    claimed = claim(ledger.database, ChunkName(job, 1), Runner.WORKERS, "w")
    assert claimed is not None
    ledger.store(claimed, Outcome.UNKNOWN)
    progress = ledger.progress(job)
    assert (progress.state, progress.tagged, progress.unknown) == (JobState.FINISHED, 10, 5)


def test_a_job_woken_while_it_is_scanned_does_not_end_before_its_scan(ledger: LedgerOf) -> None:
    job = ledger.scanning()
    ledger.append(job, ledger.photos(10))
    wait_for_root(ledger.database, job, "share")
    wake(ledger.database, [job])
    claimed = claim(ledger.database, ChunkName(job, 0), Runner.WORKERS, "w")
    assert claimed is not None
    ledger.store(claimed, Outcome.TAGGED)
    assert not ledger.progress(job).is_over
    ledger.append(job, ledger.photos(1))
    finish_scan(ledger.database, job)
    assert ledger.progress(job).queued == 1


def test_a_cancelled_job_keeps_what_is_done_and_takes_no_more_photos(ledger: LedgerOf) -> None:
    job = ledger.scanning()
    ledger.append(job, ledger.photos(40))
    claimed = claim(ledger.database, ChunkName(job, 0), Runner.WORKERS, "w")
    assert claimed is not None
    ledger.store(claimed, Outcome.FAILED, count=3)
    cancel(ledger.database, job)
    progress = ledger.progress(job)
    assert (progress.state, progress.failed, progress.cancelled) == (JobState.CANCELLED, 3, 37)
    with pytest.raises(LeaseLost):
        ledger.store(claimed, Outcome.TAGGED, first=3)
    with pytest.raises(ScanEnded):
        ledger.append(job, ledger.photos(1))
    finish_scan(ledger.database, job)
    assert ledger.progress(job) == progress


def test_cancelling_a_finished_job_changes_nothing(ledger: LedgerOf) -> None:
    job = ledger.job(3)
    claimed = claim(ledger.database, ChunkName(job, 0), Runner.WORKERS, "w")
    assert claimed is not None
    ledger.store(claimed, Outcome.TAGGED)
    before = ledger.progress(job)
    cancel(ledger.database, job)
    assert ledger.progress(job) == before


def test_workers_that_store_the_last_two_chunks_at_once_end_the_job(ledger: LedgerOf) -> None:
    for _ in range(10):
        job = ledger.job(64)
        held = [claim(ledger.database, ChunkName(job, number), Runner.WORKERS, "w") for number in (0, 1)]
        together = threading.Barrier(2)

        def store(claimed: Claim | None, together: threading.Barrier = together) -> None:
            assert claimed is not None
            together.wait()
            ledger.store(claimed, Outcome.TAGGED)

        in_threads([lambda claimed=claimed: store(claimed) for claimed in held])
        assert ledger.progress(job).state is JobState.FINISHED


def test_cancelling_while_workers_store_loses_and_doubles_nothing(ledger: LedgerOf) -> None:
    for _ in range(5):
        job = ledger.job(300)
        numbers = range(len(spans(ledger, job)))
        held = [claim(ledger.database, ChunkName(job, number), Runner.WORKERS, "w") for number in numbers]
        together = threading.Barrier(len(held) + 1)

        def store(claimed: Claim | None, together: threading.Barrier = together) -> None:
            assert claimed is not None
            together.wait()
            with suppress(LeaseLost):
                for first in range(claimed.first, claimed.last + 1, 8):
                    ledger.store(claimed, Outcome.TAGGED, first=first, count=8)

        def end(job: int = job, together: threading.Barrier = together) -> None:
            together.wait()
            cancel(ledger.database, job)

        in_threads([*(lambda claimed=claimed: store(claimed) for claimed in held), end])
        progress = ledger.progress(job)
        assert progress.is_over
        assert progress.tagged + progress.cancelled == 300


def test_cancelling_while_photos_are_added_leaves_none_open(ledger: LedgerOf) -> None:
    pages = [ledger.photos(50) for _ in range(12)]
    for _ in range(3):
        job = ledger.scanning()
        began = threading.Event()

        def scan(job: int = job, began: threading.Event = began) -> None:
            with suppress(ScanEnded):
                for page in pages:
                    ledger.append(job, page)
                    began.set()

        def end(job: int = job, began: threading.Event = began) -> None:
            began.wait()
            cancel(ledger.database, job)

        in_threads([scan, end])
        progress = ledger.progress(job)
        assert (progress.state, progress.queued) == (JobState.CANCELLED, 0)
        assert progress.cancelled == progress.total > 0


def test_chunks_are_claimed_and_stored_while_others_are_added(ledger: LedgerOf) -> None:
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
            taken = [claim(ledger.database, ChunkName(job, n), Runner.WORKERS, "w") for n in range(20)]
            for claimed in taken:
                if claimed is not None:
                    ledger.store(claimed, Outcome.TAGGED)
            if over and not any(taken):
                return

    in_threads([scan, work, work])
    progress = ledger.progress(job)
    assert (progress.state, progress.tagged) == (JobState.FINISHED, 700)


def test_a_local_job_whose_process_died_is_cancelled(ledger: LedgerOf) -> None:
    job = ledger.job(40, runner=Runner.LOCAL)
    claimed = claim_next(ledger.database, job, "w")
    assert claimed is not None
    ledger.store(claimed, Outcome.TAGGED, count=10)
    ledger.owner_died(job)
    settle_abandoned(ledger.database)
    progress = ledger.progress(job)
    assert (progress.state, progress.tagged, progress.cancelled) == (JobState.CANCELLED, 10, 30)
    assert "run the same command again" in (progress.note or "")


def test_a_process_that_died_on_this_machine_is_not_waited_for(ledger: LedgerOf) -> None:
    job = ledger.job(5, runner=Runner.LOCAL)
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    dead = f"{process_name().rpartition('/')[0]}/{child}"
    with ledger.database.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job).values(owner=dead))
    settle_abandoned(ledger.database)
    assert ledger.progress(job).state is JobState.CANCELLED


def test_a_scan_cut_off_leaves_what_it_found_to_the_workers(ledger: LedgerOf) -> None:
    job = ledger.scanning()
    ledger.append(job, ledger.photos(10))
    ledger.owner_died(job)
    settle_abandoned(ledger.database)
    progress = ledger.progress(job)
    assert (progress.state, progress.queued) == (JobState.QUEUED, 10)
    assert "cut off" in (progress.note or "")
    claimed = claim(ledger.database, ChunkName(job, 0), Runner.WORKERS, "w")
    assert claimed is not None
    ledger.store(claimed, Outcome.TAGGED)
    assert ledger.progress(job).state is JobState.FINISHED


def test_a_scan_given_up_by_mistake_adds_no_photos_to_a_job_that_others_end(ledger: LedgerOf) -> None:
    job = ledger.scanning()
    ledger.append(job, ledger.photos(10))
    ledger.owner_died(job)
    settle_abandoned(ledger.database)
    with pytest.raises(ScanEnded, match=f"Job {job}"):
        ledger.append(job, ledger.photos(10))
    assert ledger.progress(job).total == 10


def test_what_a_living_process_scans_or_runs_is_left_alone(ledger: LedgerOf) -> None:
    scanning, running = ledger.scanning(), ledger.job(5, runner=Runner.LOCAL)
    settle_abandoned(ledger.database)
    assert ledger.progress(scanning).state is JobState.SCANNING
    assert ledger.progress(running).state is JobState.QUEUED


def test_a_process_that_waits_for_a_slow_disk_shows_that_it_is_alive(
    ledger: LedgerOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tagger.ledger.jobs.RENEW_S", 0.01)
    job = ledger.scanning()
    with ledger.database.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job).values(owner_until=0.0))
    with kept_alive(ledger.database, job):
        while True:
            with ledger.database.read() as connection:
                if connection.scalar(select(jobs.c.owner_until).where(jobs.c.id == job)):
                    break
    settle_abandoned(ledger.database)
    assert ledger.progress(job).state is JobState.SCANNING


@pytest.fixture(scope="module")
def sqlite_ledger(tmp_path_factory: pytest.TempPathFactory) -> LedgerOf:
    return LedgerOf(open_database(f"sqlite:///{tmp_path_factory.mktemp('random') / 'tagger.sqlite'}"))


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


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_the_states_of_items_add_up_whatever_happens(sqlite_ledger: LedgerOf, steps: list[tuple]) -> None:
    ledger = sqlite_ledger
    job = ledger.scanning()
    ledger.append(job, ledger.photos(70))
    held: list[Claim] = []
    for step, number, count, outcome in steps:
        take_step(ledger, job, held, step, number, count, outcome)
        ledger.progress(job)
    finish_scan(ledger.database, job)
    with suppress(JobOver):
        resume(ledger.database, job)
    while taken := [
        c for n in range(30) if (c := claim(ledger.database, ChunkName(job, n), Runner.WORKERS, "w"))
    ]:
        for claimed in taken:
            ledger.store(claimed, Outcome.TAGGED)
    ledger.expire(job)
    return_expired(ledger.database)
    for number in range(30):
        if claimed := claim(ledger.database, ChunkName(job, number), Runner.WORKERS, "w"):
            ledger.store(claimed, Outcome.TAGGED)
    progress = ledger.progress(job)
    assert progress.is_over
    assert (progress.queued, progress.running) == (0, 0)


def take_step(
    ledger: LedgerOf, job: int, held: list[Claim], step: str, number: int, count: int, outcome: Outcome
) -> None:
    mine = held[number % len(held)] if held else None
    match step:
        case "claim":
            if claimed := claim(ledger.database, ChunkName(job, number), Runner.WORKERS, "w"):
                held.append(claimed)
        case "store" | "late" if mine:
            try:
                ledger.store(mine, outcome, first=mine.first + number, count=count)
            except LeaseLost:
                held.remove(mine)
        case "release" if mine:
            release(ledger.database, mine)
        case "expire":
            ledger.expire(job)
        case "return":
            return_expired(ledger.database)
        case "append":
            with suppress(ScanEnded):
                ledger.append(job, ledger.photos(count), frozenset({0, number}))
        case "scanned":
            finish_scan(ledger.database, job)
        case "pause" | "resume":
            with suppress(JobOver):
                (pause if step == "pause" else resume)(ledger.database, job)
        case "cancel" if number == 0:
            cancel(ledger.database, job)
