"""A job over what fails now: which photos it takes, how it looks, and that it streams by an index."""

from pathlib import Path

import pytest
from folders import TaggedFolder
from ledgers import LedgerOf
from sqlalchemy import func, insert, select, text, update

from tagger.database import Database
from tagger.errors import FailureKind, JobNotFound, ScanEnded
from tagger.ledger import filling
from tagger.ledger.jobs import NewJob, cancel_job
from tagger.ledger.progress import Failing, check_job, failing_now, failing_photos
from tagger.ledger.retrying import count_failing, like_job, record_retry
from tagger.tables import JobState, Priority, Runner, chunks, job_items, jobs, photos, roots


class FailingOf(LedgerOf):
    """Photos that fail, as rows."""

    def failing(
        self, count: int, kind: FailureKind = FailureKind.GONE, root_id: int | None = None
    ) -> list[int]:
        ids = self.photos(count, root_id)
        values = {"failure_kind": kind, "failure_text": "t", "failure_attempts": 1}
        with self.database.write() as connection:
            connection.execute(update(photos).where(photos.c.id.in_(ids)).values(values))
        return ids

    def new(self) -> NewJob:
        return NewJob(model_id=self.model_id, top_k=3, threshold=0.4, runner=Runner.WORKERS, kind="retry")

    def another_root(self, name: str) -> int:
        values = {"name": name, "place": f"/{name}", "place_bytes": b""}
        with self.database.write() as connection:
            return int(connection.execute(insert(roots).values(values).returning(roots.c.id)).scalar_one())

    def items(self, job: int) -> list[int]:
        query = select(job_items.c.photo_id).where(job_items.c.job_id == job).order_by(job_items.c.position)
        with self.database.read() as connection:
            return list(connection.scalars(query))


@pytest.fixture
def ledger(database: Database) -> FailingOf:
    return FailingOf(database)


def test_what_fails_now_is_retried_and_nothing_else(ledger: FailingOf) -> None:
    ledger.photos(20)
    failing = ledger.failing(5)
    job = record_retry(ledger.database, ledger.new(), Failing())
    assert ledger.items(job) == failing
    progress = ledger.progress(job)
    assert (progress.kind, progress.state, progress.total, progress.parent) == (
        "retry",
        JobState.QUEUED,
        5,
        None,
    )


def test_a_job_and_kinds_narrow_what_is_retried(ledger: FailingOf) -> None:
    gone, corrupt = ledger.failing(3), ledger.failing(2, FailureKind.CORRUPT)
    unread = ledger.failing(4, FailureKind.UNREADABLE)
    healthy = ledger.photos(1)
    job = ledger.job(0, photo_ids=[*gone, *corrupt, *healthy])
    both = Failing(job, (FailureKind.GONE, FailureKind.UNREADABLE))
    assert count_failing(ledger.database, Failing()) == {"unreadable": 4, "gone": 3, "corrupt": 2}
    assert count_failing(ledger.database, both) == {"gone": 3}
    assert [photo.kind for photo in failing_photos(ledger.database, both)] == ["gone"] * 3
    assert ledger.items(record_retry(ledger.database, ledger.new(), both)) == gone
    of_kind = Failing(kinds=(FailureKind.UNREADABLE,))
    assert ledger.items(record_retry(ledger.database, ledger.new(), of_kind)) == unread


def test_a_retry_of_a_job_keeps_its_model_top_k_and_threshold(ledger: FailingOf) -> None:
    job = ledger.job(0, photo_ids=ledger.failing(1))
    new = like_job(ledger.database, job, Priority.INTERACTIVE)
    retry = record_retry(ledger.database, new, Failing(job))
    with ledger.database.read() as connection:
        old, made = connection.execute(select(jobs).order_by(jobs.c.id)).all()
    assert (made.model_id, made.top_k, made.threshold) == (old.model_id, old.top_k, old.threshold)
    assert (made.parent_id, made.kind, made.priority, made.again) == (job, "retry", "interactive", False)
    assert ledger.progress(retry).parent == job


def test_a_job_that_is_not_there_is_told(ledger: FailingOf) -> None:
    with pytest.raises(JobNotFound, match="no job 7"):
        check_job(ledger.database, 7)


def test_it_goes_page_by_page_and_no_chunk_has_photos_of_two_roots(
    ledger: FailingOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "PAGE", 50)
    others = [ledger.another_root(name) for name in ("a", "b")]
    expected = [photo for n in range(40) for photo in ledger.failing(3, root_id=[None, *others][n % 3])]
    told: list[int] = []
    job = record_retry(ledger.database, ledger.new(), Failing(), told.append)
    assert told == [50, 100, 120]
    assert sorted(ledger.items(job)) == expected
    assert ledger.progress(job).queued == 120
    inside = job_items.c.position.between(chunks.c.first, chunks.c.last)
    of_chunk = (
        select(chunks.c.chunk, func.count(photos.c.root_id.distinct()).label("roots"))
        .join(job_items, (job_items.c.job_id == chunks.c.job_id) & inside)
        .join(photos, photos.c.id == job_items.c.photo_id)
        .where(chunks.c.job_id == job)
        .group_by(chunks.c.chunk)
    )
    with ledger.database.read() as connection:
        assert {row.roots for row in connection.execute(of_chunk)} == {1}


def test_a_retry_cancelled_while_it_is_recorded_takes_no_more_photos(
    ledger: FailingOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "PAGE", 10)
    ledger.failing(30)

    def cancel(_count: int) -> None:
        with ledger.database.write() as connection:
            cancel_job(connection, 1, "by request")

    with pytest.raises(ScanEnded, match="Job 1"):
        record_retry(ledger.database, ledger.new(), Failing(), cancel)
    progress = ledger.progress(1)
    assert (progress.state, progress.cancelled) == (JobState.CANCELLED, 10)


def test_pages_are_found_by_the_index_of_failing_photos(ledger: FailingOf) -> None:
    ledger.photos(3000)
    ledger.failing(10)
    for failing in (Failing(), Failing(kinds=(FailureKind.GONE,)), Failing(job_id=1)):
        query = (
            select(photos.c.id).where(*failing_now(failing), photos.c.id > 5).order_by(photos.c.id).limit(10)
        )
        plan = _plan(ledger.database, query)
        assert "ix_photos_failing" in plan, plan


def test_photos_that_fail_are_really_read_again_and_lose_their_failure(
    database: Database, tmp_path: Path
) -> None:
    folder = TaggedFolder(database, tmp_path)
    for name in ("a.jpg", "b.jpg", "fine.jpg"):
        folder.draw(name, 0, shade=len(name))
    sound = (folder.folder / "a.jpg").read_bytes()
    for name in ("a.jpg", "b.jpg"):
        (folder.folder / name).write_bytes(b"\xff\xd8\xff broken")
    first = folder.record()
    folder.run(first)
    assert [photo.attempts for photo in folder.failing()] == [1, 1]
    (folder.folder / "a.jpg").write_bytes(sound)
    new = NewJob(model_id=folder.model.id, top_k=3, threshold=0.5, runner=Runner.LOCAL, kind="retry")
    retry = record_retry(database, new, Failing(first))
    progress = folder.run(retry)
    assert (progress.total, progress.tagged, progress.failed) == (2, 1, 1)
    assert folder.tags_of("a.jpg")[0] == ("eiffel-tower", 1, True)
    (left,) = folder.failing()
    assert (left.path, left.attempts, left.job) == ("b.jpg", 2, retry)


def _plan(database: Database, query: object) -> str:
    explain = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN "
    with database.write() as connection:
        connection.execute(text("ANALYZE"))
        if not database.is_sqlite:  # a table that fits a page is read whole, whatever index there is
            connection.execute(text("SET LOCAL enable_seqscan = off"))
        compiled = query.compile(connection, compile_kwargs={"literal_binds": True})  # type: ignore[attr-defined]
        return "\n".join(str(row) for row in connection.execute(text(explain + str(compiled))).all())
