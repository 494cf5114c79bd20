"""Photos that fail or are still being copied: tried again by themselves, by a retry, or once they are complete."""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import func, insert, select, update
from support.clocks import clock_ahead
from support.colour_folders import TaggedFolder
from support.databases import empty_database, execute, query_plans, read_rows, read_scalars
from support.ledgers import LedgerBuilder

from tagger.database import JobKind, JobState, Priority
from tagger.database.tables import chunks, job_items, jobs, photos, roots
from tagger.errors import RETRY_PAUSES, FailureKind
from tagger.jobs.enqueue.scan import ProgressCallback, Scan
from tagger.jobs.enqueue.submission import Backfill, BackfillScope, Retry, count_photos, queue_job, submit
from tagger.jobs.processing import classification
from tagger.jobs.processing.chunk_runner import ChunkEnd
from tagger.jobs.processing.executor import ChunkExecutor
from tagger.jobs.processing.storage import Item
from tagger.ledger import InferenceOptions, NewJob, create_job, items
from tagger.ledger.chunks import claim_next_chunk
from tagger.ledger.items import FailureFilter, count_failures, failing_photos
from tagger.ledger.job_control import cancel
from tagger.photos import files
from tagger.photos.formats import digest_photo
from tagger.pipeline import Classified


@pytest.fixture
def folder(database, tmp_path) -> TaggedFolder:
    return TaggedFolder(database, tmp_path)


@pytest.fixture
def fail_reads(monkeypatch) -> Callable[[int], None]:
    """Let photos fail with this error when they are opened; with 0 no more."""

    def fail(number: int) -> None:
        def refuse(path: Path, _root: Path) -> int:
            raise OSError(number, os.strerror(number), str(path))

        monkeypatch.undo() if not number else monkeypatch.setattr(files, "open_photo", refuse)

    return fail


class Nights:
    """Runs the line that the docs give for every night."""

    def __init__(self, folder: TaggedFolder) -> None:
        self.folder = folder

    def run(self) -> dict[str, str]:
        folder = self.folder
        request = Backfill(BackfillScope.UNTAGGED, scan=(folder.folder,))
        job, _ = submit(folder.database, folder.page_settings, request, Priority.BULK, local=True)
        folder.run(job)
        return folder.outcomes(job)

    def count(self) -> int:
        inference = InferenceOptions(self.folder.model.id, 5, 0.5)
        return count_photos(self.folder.database, Backfill(BackfillScope.UNTAGGED), inference, {})

    def pass_time(self, pause: timedelta) -> None:
        for failing in self.folder.failing():
            retry_at = self.folder.photo(failing.path).retry_at
            with self.folder.database.write() as connection:
                earlier = None if retry_at is None else retry_at - pause
                connection.execute(update(photos).values(retry_at=earlier))


@pytest.mark.postgresql
def test_a_photo_that_could_not_be_reached_is_tagged_in_the_next_night(folder, fail_reads):
    folder.draw("a.jpg")
    nights = Nights(folder)
    fail_reads(errno.ESTALE)
    assert nights.run() == {"a.jpg": "failed"}
    (failing,) = folder.failing()
    assert failing.kind == FailureKind.UNREACHABLE
    fail_reads(0)
    assert nights.count() == 1
    assert nights.run() == {"a.jpg": "tagged"}
    assert folder.failing() == []
    photo = folder.photo("a.jpg")
    assert (photo.retry_at, photo.failure_attempts) == (None, None)


def test_the_clock_of_a_machine_does_not_decide_when_a_photo_is_tried_again(folder, fail_reads):
    folder.draw("a.jpg")
    nights = Nights(folder)
    fail_reads(errno.EIO)
    with clock_ahead(timedelta(days=9)):
        nights.run()
        nights.run()
        assert nights.count() == 0
    retry_at = folder.photo("a.jpg").retry_at
    assert abs(retry_at - datetime.now(UTC) - RETRY_PAUSES[1]) < timedelta(minutes=1)


def test_pauses_grow_and_at_last_the_failure_is_final(folder, fail_reads):
    folder.draw("a.jpg")
    nights = Nights(folder)
    fail_reads(errno.EIO)
    for pause in (*RETRY_PAUSES, None):
        assert nights.run() == {"a.jpg": "failed"}
        retry_at = folder.photo("a.jpg").retry_at
        if pause is None:
            assert retry_at is None
        else:
            assert abs(retry_at - datetime.now(UTC) - pause) < timedelta(minutes=1)
            nights.pass_time(pause - timedelta(minutes=1))
            assert nights.run() == {} or pause < timedelta(minutes=1)
            nights.pass_time(timedelta(minutes=1))
    nights.pass_time(timedelta(days=1000))
    assert nights.run() == {}
    fail_reads(0)
    assert folder.tag() == {"a.jpg": "tagged"}, "where somebody asks, it is tried"


def test_a_failure_that_cannot_pass_is_tried_again_when_the_file_changes(folder):
    """A copy that broke off, and is complete the next night."""
    complete = folder.draw("a.jpg").read_bytes()
    (folder.folder / "a.jpg").write_bytes(complete[:20])
    nights = Nights(folder)
    assert nights.run() == {"a.jpg": "failed"}
    assert nights.run() == {}
    (folder.folder / "a.jpg").write_bytes(complete)
    assert nights.run() == {"a.jpg": "tagged"}


@pytest.mark.parametrize(
    ("number", "kind", "remedy"),
    [
        (errno.ESTALE, FailureKind.UNREACHABLE, "share or server does not answer"),
        (errno.EIO, FailureKind.UNREACHABLE, "Its disk fails"),
        (errno.ENOTCONN, FailureKind.UNREACHABLE, "share or server does not answer"),
        (errno.EHOSTDOWN, FailureKind.UNREACHABLE, "share or server does not answer"),
        (errno.ETIMEDOUT, FailureKind.UNREACHABLE, "share or server does not answer"),
        (errno.ENODEV, FailureKind.UNREACHABLE, "mount it again"),
        (errno.EBUSY, FailureKind.UNREACHABLE, "Another program uses it"),
        (errno.EMFILE, FailureKind.UNREACHABLE, "the system is short of"),
        (errno.EACCES, FailureKind.UNREADABLE, "Give this user the right"),
    ],
)
def test_an_error_of_the_system_says_what_it_is(folder, fail_reads, number, kind, remedy):
    folder.draw("a.jpg")
    fail_reads(number)
    folder.tag()
    (failing,) = folder.failing()
    assert failing.kind == kind
    assert remedy in failing.text


class FailureLedger(LedgerBuilder):
    def failing(
        self, count: int, kind: FailureKind = FailureKind.EMPTY, root_id: int | None = None
    ) -> list[int]:
        ids = self.photos(count, root_id)
        values = {"failure_kind": kind, "failure_text": "t", "failure_attempts": 1}
        execute(self.database, update(photos).where(photos.c.id.in_(ids)).values(values))
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
        return read_scalars(self.database, query)


@pytest.fixture
def ledger(database) -> FailureLedger:
    return FailureLedger(database)


def test_job_and_kinds_narrow_a_retry(ledger):
    gone, corrupt = ledger.failing(3, FailureKind.GONE), ledger.failing(2, FailureKind.CORRUPT)
    unread = ledger.failing(4, FailureKind.UNREADABLE)
    healthy = ledger.photos(1)
    job = ledger.job(0, photo_ids=[*gone, *corrupt, *healthy])
    both = FailureFilter(job, (FailureKind.GONE, FailureKind.UNREADABLE))
    assert count_failures(ledger.database, FailureFilter()) == {"unreadable": 4, "corrupt": 2}
    assert count_failures(ledger.database, both) == {"gone": 3}
    assert [photo.kind for photo in failing_photos(ledger.database, both)] == ["gone"] * 3
    of_kind = FailureFilter(kinds=(FailureKind.UNREADABLE,))
    for failures, expected in ((both, gone), (of_kind, unread)):
        retry = ledger.retry(failures)
        assert ledger.items(retry) == expected
        cancel(ledger.database, retry)  # an open one keeps its photos from the next
    retry = ledger.retry(FailureFilter())
    assert ledger.items(retry) == [*corrupt, *unread], "not those that are gone"
    progress = ledger.progress(retry)
    assert (progress.kind, progress.state) == ("retry", JobState.QUEUED)
    assert (progress.total, progress.parent) == (6, None)


def test_retry_of_a_job_keeps_its_model_top_k_and_threshold(folder, database):
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


def test_retry_is_recorded_in_pages_and_chunks_have_one_root(ledger, monkeypatch):
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
    assert {row.roots for row in read_rows(ledger.database, of_chunk)} == {1}


@pytest.mark.postgresql
def test_pages_use_the_index_of_failures(ledger):
    ledger.failing(10)
    for failing in (FailureFilter(), FailureFilter(kinds=(FailureKind.GONE,)), FailureFilter(job_id=1)):
        with query_plans(ledger.database, "FROM photos") as plans:
            list(failing_photos(ledger.database, failing))
        assert ["ix_photos_failing" in plan for plan in plans] == [True], plans


@pytest.fixture
def sqlite_folder(tmp_path) -> Iterator[TaggedFolder]:
    with empty_database(tmp_path / "database") as database:
        yield TaggedFolder(database, tmp_path)


def test_photo_that_is_being_copied_is_tagged_once_it_is_complete(sqlite_folder, tmp_path):
    photo = _draw_noise(tmp_path / "original.jpg").read_bytes()
    target = sqlite_folder.folder / "slow.jpg"
    executor = ChunkExecutor(
        sqlite_folder.database, sqlite_folder.settings.model_copy(update={"settle_s": 1.5})
    )
    executor.models.get([sqlite_folder.model.id])  # loading would take as long as the copy
    stored: list[Item] = []
    with closing(executor), _slow_copy(photo, target):
        claim = claim_next_chunk(sqlite_folder.database, sqlite_folder.record(), "worker")
        assert claim is not None
        assert executor.execute(claim, stored.extend) is ChunkEnd.DONE
    (only,) = stored
    assert isinstance(only.result, Classified)
    assert only.result.digest == digest_photo(photo)
    row = sqlite_folder.photo("slow.jpg")
    assert (row.classified_size_bytes, row.classified_mtime_ns) == (len(photo), target.stat().st_mtime_ns)
    assert sqlite_folder.tag() == {"slow.jpg": "skipped"}


def test_photos_that_keep_changing_fail_until_they_have_changed_and_a_later_run_tags_them(
    sqlite_folder, monkeypatch
):
    monkeypatch.setattr(classification, "SETTLE_PERIODS", 0.0002)
    sqlite_folder.draw_many(2)
    os.utime(sqlite_folder.folder / "01.jpg", (1, 1))  # as programs that copy do
    before = sqlite_folder.settings
    sqlite_folder.settings = before.model_copy(update={"settle_s": 600})
    progress = sqlite_folder.run(sqlite_folder.record())
    sqlite_folder.settings = before
    assert (progress.state, progress.failed) == (JobState.FINISHED, 2)
    for failing in sqlite_folder.failing():
        assert failing.kind == FailureKind.SETTLING
        assert "tagger job retry --kind settling" in failing.text
    assert Nights(sqlite_folder).count() == 2
    with (sqlite_folder.folder / "00.jpg").open("ab") as photo:
        photo.write(b"more")
    job = sqlite_folder.record()
    assert Nights(sqlite_folder).count() == 2
    assert [failing.path for failing in sqlite_folder.failing()] == ["01.jpg"]
    assert sqlite_folder.run(job).tagged == 2
    assert sqlite_folder.failing() == []


def _draw_noise(path: Path) -> Path:
    noise = np.random.default_rng(1).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, quality=90)
    return path


@contextmanager
def _slow_copy(data: bytes, target: Path) -> Iterator[None]:
    """Write the first part now, and the others one by one while the context runs."""
    step = len(data) // 5 + 1
    parts = [data[start : start + step] for start in range(0, len(data), step)]

    def append() -> None:
        for part in parts[1:]:
            time.sleep(0.1)
            with target.open("ab") as file:
                file.write(part)

    target.write_bytes(parts[0])
    copying = threading.Thread(target=append)
    copying.start()
    yield
    copying.join()
