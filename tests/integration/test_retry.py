"""Retries: their photos, their options, and pages that use an index."""

from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, update
from support.colour_folders import TaggedFolder
from support.databases import query_plans
from support.ledgers import LedgerBuilder

from tagger.database.connection import Database
from tagger.database.enums import JobKind, JobState, Priority
from tagger.database.tables import chunks, job_items, jobs, photos, roots
from tagger.errors import FailureKind
from tagger.jobs.enqueue.scan import ProgressCallback, Scan
from tagger.jobs.enqueue.submission import Retry, queue_job, submit
from tagger.ledger import items
from tagger.ledger.items import FailureFilter, count_failures, failing_photos
from tagger.ledger.job_control import cancel
from tagger.ledger.jobs import NewJob, create_job


class FailureLedger(LedgerBuilder):
    """A ledger with rows of photos that fail."""

    def failing(
        self, count: int, kind: FailureKind = FailureKind.GONE, root_id: int | None = None
    ) -> list[int]:
        ids = self.photos(count, root_id)
        values = {"failure_kind": kind, "failure_text": "t", "failure_attempts": 1}
        with self.database.write() as connection:
            connection.execute(update(photos).where(photos.c.id.in_(ids)).values(values))
        return ids

    def retry(self, failures: FailureFilter, on_progress: ProgressCallback = lambda _count: None) -> int:
        """Record a retry with its photos. The ledger's model has no file, so that it is not looked up."""
        new = NewJob(self.model_id, 3, 0.4, kind=JobKind.RETRY)
        job = create_job(self.database, new)
        queue_job(Retry(failures), Scan(self.database, job, new, {}, on_progress))
        return job

    def another_root(self, name: str) -> int:
        values = {"name": name, "location": f"/{name}", "location_bytes": b""}
        with self.database.write() as connection:
            return int(connection.execute(insert(roots).values(values).returning(roots.c.id)).scalar_one())

    def items(self, job: int) -> list[int]:
        query = select(job_items.c.photo_id).where(job_items.c.job_id == job).order_by(job_items.c.position)
        with self.database.read() as connection:
            return list(connection.scalars(query))


@pytest.fixture
def ledger(database: Database) -> FailureLedger:
    return FailureLedger(database)


def test_job_and_kinds_narrow_a_retry(ledger: FailureLedger) -> None:
    gone, corrupt = ledger.failing(3), ledger.failing(2, FailureKind.CORRUPT)
    unread = ledger.failing(4, FailureKind.UNREADABLE)
    healthy = ledger.photos(1)
    job = ledger.job(0, photo_ids=[*gone, *corrupt, *healthy])
    both = FailureFilter(job, (FailureKind.GONE, FailureKind.UNREADABLE))
    assert count_failures(ledger.database, FailureFilter()) == {"unreadable": 4, "gone": 3, "corrupt": 2}
    assert count_failures(ledger.database, both) == {"gone": 3}
    assert [photo.kind for photo in failing_photos(ledger.database, both)] == ["gone"] * 3
    of_kind = FailureFilter(kinds=(FailureKind.UNREADABLE,))
    for failures, expected in ((both, gone), (of_kind, unread)):
        retry = ledger.retry(failures)
        assert ledger.items(retry) == expected
        cancel(ledger.database, retry)  # an open one keeps its photos from the next
    retry = ledger.retry(FailureFilter())
    assert ledger.items(retry) == [*gone, *corrupt, *unread]
    progress = ledger.progress(retry)
    assert (progress.kind, progress.state, progress.total, progress.parent) == (
        "retry",
        JobState.QUEUED,
        9,
        None,
    )


def test_retry_of_a_job_keeps_its_model_top_k_and_threshold(database: Database, tmp_path: Path) -> None:
    folder = TaggedFolder(database, tmp_path)
    (folder.folder / "a.jpg").write_bytes(b"no picture")
    job = folder.record(top_k=2, threshold=0.9)
    folder.run(job)
    request = Retry(FailureFilter(job))
    retry, _ = submit(database, folder.settings, request, Priority.INTERACTIVE)
    options = (jobs.c.model_id, jobs.c.top_k, jobs.c.threshold)
    with database.read() as connection:
        first, second = connection.execute(select(*options).order_by(jobs.c.id)).all()
        row = connection.execute(select(jobs).where(jobs.c.id == retry)).one()
    assert first == second
    assert (row.parent_id, row.kind, row.priority, row.reprocess) == (job, "retry", "interactive", False)


def test_retry_is_recorded_in_pages_and_chunks_have_one_root(
    ledger: FailureLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "PAGE", 50)
    others = [ledger.another_root(name) for name in ("a", "b")]
    expected = [photo for n in range(40) for photo in ledger.failing(3, root_id=[None, *others][n % 3])]
    progress_counts: list[int] = []
    job = ledger.retry(FailureFilter(), progress_counts.append)
    assert progress_counts == [50, 100, 120]
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


@pytest.mark.postgresql
def test_pages_use_the_index_of_failures(ledger: FailureLedger) -> None:
    ledger.failing(10)
    for failing in (FailureFilter(), FailureFilter(kinds=(FailureKind.GONE,)), FailureFilter(job_id=1)):
        with query_plans(ledger.database, "FROM photos") as plans:
            list(failing_photos(ledger.database, failing))
        assert ["ix_photos_failing" in plan for plan in plans] == [True], plans
