"""Steps of a chunk: which images are known, photos alone after deaths of workers, and the last step of its job."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import insert, select, text, update
from support.camera_photos import draw_shot
from support.colour_folders import TaggedFolder
from support.databases import execute, read_rows
from support.ledgers import claim_one
from support.written_folder import WrittenFolder

from tagger.database import JobState, Outcome, Priority, Runner, VerdictKind
from tagger.database.changed_days import are_consequences_due
from tagger.database.connection import Database
from tagger.database.statements import PreparedQuery
from tagger.database.tables import changed_days, chunks, contents, job_items, models, positions
from tagger.errors import FailureKind
from tagger.jobs.processing import executor as executor_module
from tagger.jobs.processing.chunk_runner import MAX_DEATHS, SHARED_ATTEMPTS, ChunkEnd
from tagger.jobs.processing.classification import KnownImages
from tagger.jobs.processing.executor import run_job
from tagger.ledger import cancel_job
from tagger.ledger.chunks import claim_next_chunk, count_crashes
from tagger.ledger.job_control import cancel, recover_stale_jobs
from tagger.ledger.workers import release_expired, waiting_chunks
from tagger.verdicts import give_verdicts

EIFFEL = "eiffel-tower"


@pytest.fixture
def folder(database, tmp_path) -> TaggedFolder:
    folder = TaggedFolder(database, tmp_path)
    draw_shot(folder.folder / "gps.jpg", 0, gps=(48.8584, 2.2945))
    draw_shot(folder.folder / "between.jpg", 5)
    draw_shot(folder.folder / "tower.jpg", 10, label=0)
    return folder


def located(folder: TaggedFolder) -> int:
    return len(read_rows(folder.database, select(positions.c.photo_id)))


def is_due(folder: TaggedFolder) -> bool:
    with folder.database.read() as connection:
        return are_consequences_due(connection)


def before_steps(monkeypatch: pytest.MonkeyPatch, act: Callable[..., object]) -> None:
    update = executor_module.update_consequences

    def acting(database: Database, model: str | None, report: Callable[..., None]) -> None:
        def act_and_report(*step: object) -> None:
            act(*step)
            report(*step)

        update(database, model, act_and_report)

    monkeypatch.setattr(executor_module, "update_consequences", acting)


@pytest.fixture
def last_step(folder) -> int:
    """The number of a job of workers whose photos are classified."""
    job = folder.record(runner=Runner.WORKERS)
    assert folder.execute(job) is ChunkEnd.DONE
    return job


def test_a_job_of_workers_ends_when_its_photos_are_located(folder, last_step, monkeypatch):
    progress = folder.progress(last_step)
    assert (progress.state, progress.settling, progress.done, progress.queued) == ("running", True, 3, 0)
    assert located(folder) == 0
    assert waiting_chunks(folder.database)[Priority.BULK] == 1  # a worker is woken for it
    steps: list[str] = []
    before_steps(monkeypatch, lambda text, *_: steps.append(text))
    assert folder.execute(last_step) is ChunkEnd.DONE
    progress = folder.progress(last_step)
    assert (progress.state, progress.settling, progress.tagged, progress.unknown) == ("finished", False, 1, 2)
    assert list(dict.fromkeys(steps)) == ["locating photos", "counting photos", "finding trips"]
    assert located(folder) == 3
    assert not is_due(folder)


@pytest.mark.postgresql
@pytest.mark.parametrize("large", [3, 4])
def test_the_planner_knows_the_tables_after_a_large_job(folder, last_step, monkeypatch, large):
    monkeypatch.setattr(executor_module, "LARGE_JOB", large)
    assert folder.execute(last_step) is ChunkEnd.DONE
    assert folder.progress(last_step).total == 3
    with folder.database.read() as connection:
        if folder.database.is_sqlite:
            is_known = connection.scalar(
                text("SELECT count(*) FROM sqlite_schema WHERE name = 'sqlite_stat1'")
            )
        else:
            is_known = connection.scalar(text("SELECT reltuples = 3 FROM pg_class WHERE relname = 'photos'"))
    assert bool(is_known) is (large == 3)


def test_a_worker_that_stops_leaves_the_last_step_to_others(folder, last_step):
    executor = folder.executor()
    executor.stop.set()
    assert executor.execute(claim_one(folder.database, last_step)) is ChunkEnd.RELEASED
    executor.close()
    assert folder.progress(last_step).settling
    assert claim_one(folder.database, last_step).attempts == 1


def test_another_worker_goes_on_with_the_last_step_of_one_that_died(folder, last_step):
    claim_one(folder.database, last_step)
    assert claim_next_chunk(folder.database, last_step, "w") is None
    execute(folder.database, update(chunks).values(lease_until=0.0))
    assert len(release_expired(folder.database)) == 1
    assert folder.execute(last_step) is ChunkEnd.DONE
    assert folder.progress(last_step).state is JobState.FINISHED


def test_a_job_that_is_cancelled_in_its_last_step_says_nothing_of_models(
    folder, last_step, caplog, monkeypatch
):
    claimed = claim_one(folder.database, last_step)
    executor = folder.executor()

    def cancel_meanwhile(*_: object) -> None:
        with folder.database.write() as connection:
            cancel_job(connection, last_step, "no longer wanted")
            connection.execute(
                insert(changed_days).values(step="positions", content_id=1)
            )  # so there is more to do
        executor._renew_leases()

    before_steps(monkeypatch, cancel_meanwhile)
    assert executor.execute(claimed) is ChunkEnd.LOST
    executor.close()
    assert folder.progress(last_step).state is JobState.CANCELLED
    assert "taught landmarks" not in caplog.text


def test_a_job_that_is_cancelled_has_the_outcomes_that_verdicts_gave_its_photos(folder, last_step):
    give_verdicts(folder.database, [folder.folder / "tower.jpg"], EIFFEL, VerdictKind.REJECTED, None, {})
    cancel(folder.database, last_step)
    progress = folder.progress(last_step)
    assert (progress.state, progress.tagged, progress.unknown) == (JobState.CANCELLED, 0, 3)


def test_a_model_that_cannot_be_read_does_not_keep_a_job_from_its_end(folder, last_step, caplog):
    execute(folder.database, update(models).values(in_use=False, use_order=None))
    folder.settings = folder.settings.model_copy(update={"model": "nowhere"})
    assert folder.execute(last_step) is ChunkEnd.DONE
    assert "the taught landmarks were not updated" in caplog.text
    assert folder.progress(last_step).state is JobState.FINISHED
    assert located(folder) == 3


@pytest.mark.parametrize("kills", [False, True])
def test_a_last_step_that_fails_each_time_does_not_keep_a_job_from_its_end(
    folder, last_step, monkeypatch, *, kills
):
    def fail(*_: object) -> None:
        raise ValueError

    monkeypatch.setattr(executor_module, "update_consequences", fail)
    if kills:
        execute(folder.database, update(chunks).where(chunks.c.done.is_(False)).values(attempts=2))
    assert folder.execute(last_step) is ChunkEnd.DONE
    assert folder.progress(last_step).state is JobState.FINISHED
    assert is_due(folder)


def test_a_local_job_whose_process_ends_in_its_last_step_is_finished_and_the_next_one_does_it(
    folder, monkeypatch
):
    job = folder.record()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr(executor_module, "update_consequences", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_job(folder.database, folder.settings, job)
    assert (folder.progress(job).state, folder.progress(job).tagged) == (JobState.FINISHED, 1)
    assert is_due(folder)
    again = folder.record()  # all photos are skipped
    folder.run(again)
    assert (folder.progress(again).state, folder.progress(again).skipped) == (JobState.FINISHED, 3)
    assert not is_due(folder)
    assert located(folder) == 3


def test_a_job_of_workers_with_nothing_new_needs_no_worker_to_end(folder):
    folder.run(folder.record())
    execute(folder.database, insert(changed_days).values(step="positions", content_id=1))
    job = folder.record(runner=Runner.WORKERS)
    recover_stale_jobs(folder.database)
    assert (folder.progress(job).state, folder.progress(job).skipped) == (JobState.FINISHED, 3)


@pytest.fixture
def drawn(database, tmp_path) -> WrittenFolder:
    drawn = WrittenFolder(database, tmp_path)
    drawn.draw_many(4, labels=2)
    return drawn


def kill_workers(database: Database, job: int, times: int) -> None:
    """Claim the job's chunk as workers that are killed soon after, its first photo alone if isolated."""
    for _ in range(times):
        claim = claim_one(database, job)
        if claim.attempts > SHARED_ATTEMPTS:
            count_crashes(database, claim, claim.first, +1)
        execute(database, update(chunks).where(chunks.c.job_id == job).values(lease_until=0.0))
        release_expired(database)


def failures(database: Database, job: int) -> list[tuple[int, str]]:
    query = select(job_items.c.position, job_items.c.reason).where(
        job_items.c.job_id == job, job_items.c.outcome == Outcome.FAILED
    )
    return [(row.position, row.reason) for row in read_rows(database, query)]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_photo_that_crashes_its_child_fails_alone(drawn, inject):
    inject("FAULT_ON_DECODE", "crashes")
    with (drawn.folder / "02.jpg").open("ab") as photo:
        photo.write(b"crashes")
    job = drawn.record(runner=Runner.WORKERS)
    kill_workers(drawn.database, job, SHARED_ATTEMPTS)
    drawn.work(job)
    assert failures(drawn.database, job) == [(2, FailureKind.CRASHED)]
    assert drawn.progress(job).tagged == 3


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_photo_fails_alone_after_several_workers_died_that_had_it_alone(drawn):
    job = drawn.record(runner=Runner.WORKERS)
    kill_workers(drawn.database, job, SHARED_ATTEMPTS + MAX_DEATHS - 1)
    drawn.work(job)
    assert drawn.progress(job).tagged == 4
    job = drawn.record(runner=Runner.WORKERS, reprocess=True)
    kill_workers(drawn.database, job, SHARED_ATTEMPTS + MAX_DEATHS)
    drawn.work(job)
    assert failures(drawn.database, job) == [(0, FailureKind.CRASHED)]
    assert drawn.progress(job).tagged == 3


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_metadata_job_survives_killed_workers(drawn):
    drawn.tag()
    job = drawn.create_write_job_for_workers()
    kill_workers(drawn.database, job, SHARED_ATTEMPTS + MAX_DEATHS)
    drawn.work(job)
    assert failures(drawn.database, job) == [(0, FailureKind.CRASHED)]
    assert drawn.progress(job).written == 3


@pytest.fixture
def known(ledger) -> Iterator[KnownImages]:
    """Asks for the only model of a ledger, which has classified `a`, and `b` with another top-k."""
    row = {"outcome": Outcome.UNKNOWN, "model_id": ledger.model_id, "threshold": 0.5}
    with ledger.database.write() as connection:
        for digest, top_k in (("a", 5), ("b", 3)):
            at = datetime.now(UTC)
            connection.execute(insert(contents).values(**row, digest=digest, top_k=top_k, classified_at=at))
    with closing(KnownImages(ledger.database, ledger.claim(ledger.job(1)))) as images:
        yield images


@pytest.mark.postgresql
def test_known_images_follow_what_is_stored_meanwhile(known, ledger):
    assert known.lacking_models("a") == ()
    assert known.lacking_models("b") == known.lacking_models("c") == (ledger.model_id,)
    assert known.lacking_models("b")
    execute(ledger.database, contents.update().values(top_k=5))
    assert known.lacking_models("b") == ()


@pytest.mark.postgresql
def test_questions_that_wait_are_one_statement(known, ledger, monkeypatch):
    assert known.lacking_models("c")  # connects
    asked: list[list[str]] = []
    may_answer, rows = threading.Event(), PreparedQuery.rows

    def slow_rows(query: PreparedQuery, parameters: dict[str, Any]) -> Any:
        asked.append(parameters["digests"])
        assert may_answer.wait(30)
        return rows(query, parameters)

    monkeypatch.setattr(PreparedQuery, "rows", slow_rows)
    with ThreadPoolExecutor(9) as readers:
        first = readers.submit(known.lacking_models, "a")
        while not asked:
            pass
        others = [readers.submit(known.lacking_models, digest) for digest in "abcdefgh"]
        while len(known._waiting) < len(others):
            pass
        may_answer.set()
        assert first.result() == ()
        assert [other.result() for other in others] == [()] + 7 * [(ledger.model_id,)]
    assert len(asked) == 2


@pytest.mark.postgresql
def test_broken_connections_are_replaced_and_late_readers_get_all_models(known, ledger):
    assert known.lacking_models("a") == ()
    if ledger.database.is_sqlite:
        known._connection.connection.dbapi_connection.close()
    else:
        others = "pid <> pg_backend_pid() AND datname = current_database()"
        ended = text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
        read_rows(ledger.database, ended)
    assert known.lacking_models("a") == (ledger.model_id,)
    assert known.lacking_models("a") == ()
    known.close()
    assert known.lacking_models("a") == (ledger.model_id,)
