"""Objects that a bucket has reported are compared with the bucket and the database, on both databases."""

import pytest
from sqlalchemy import select
from support.buckets import Bucket, Fault
from support.ledgers import LedgerBuilder

from tagger.database.connection import Database
from tagger.database.tables import photos, roots
from tagger.errors import BucketUnavailable
from tagger.jobs.enqueue.job_options import InferenceOptions
from tagger.jobs.enqueue.scan import Scan, select_paths
from tagger.jobs.enqueue.watched_folders import ObjectChanges, check_object_changes
from tagger.ledger.jobs import cancel_job, finish_scan
from tagger.photos.paths import ObjectPath, parse_path


class Prefix:
    """A prefix of a bucket, with photos that a cancelled job has recorded."""

    def __init__(self, database: Database, bucket: Bucket) -> None:
        self.database = database
        self.bucket = bucket
        self._ledger = LedgerBuilder(database)
        self._options = InferenceOptions(self._ledger.model_id, 5, 0.5, reprocess=False)
        path = parse_path(f"{bucket.address}/trip")
        assert isinstance(path, ObjectPath)
        self.path = path

    def record(self, *names: str) -> int:
        for name in names:
            self.bucket.put(f"trip/{name}", b"x")
        job = self._ledger.scanning()
        Scan(self.database, job, self._options, {}).run(select_paths([self.path]))
        finish_scan(self.database, job)
        return job

    def cancel(self, job: int) -> None:
        with self.database.write() as connection:
            cancel_job(connection, job, "")

    def check(self, *names: str) -> ObjectChanges:
        objects = [self.path / name for name in names]
        return check_object_changes(self.database, self.path, objects, self._options, {})

    def unseen(self, *names: str) -> list[str]:
        return [str(path.relative_to(self.path)) for path in self.check(*names).unseen]

    def gone(self) -> list[str]:
        query = select(photos.c.path).where(photos.c.gone_since.is_not(None)).order_by(photos.c.path)
        with self.database.read() as connection:
            return list(connection.scalars(query))


@pytest.fixture
def prefix(database: Database, bucket: Bucket) -> Prefix:
    return Prefix(database, bucket)


def test_new_and_changed_objects_are_unseen_and_waiting_ones_are_not(prefix: Prefix) -> None:
    job = prefix.record("a.jpg", "b.jpg")
    prefix.bucket.put("trip/b.jpg", b"changed")
    prefix.bucket.put("trip/deep/c.jpg", b"new")
    assert prefix.unseen("a.jpg", "b.jpg", "deep/c.jpg", "nowhere.jpg") == ["b.jpg", "deep/c.jpg"]
    prefix.cancel(job)
    assert prefix.unseen("a.jpg") == ["a.jpg"]
    assert prefix.gone() == []


def test_objects_that_are_gone_are_marked_once(prefix: Prefix, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tagger.jobs.enqueue.watched_folders.PAGE", 2)
    names = [f"{number}.jpg" for number in range(5)]
    prefix.record(*names, "kept.jpg")
    for name in names:
        prefix.bucket.delete(f"trip/{name}")
    assert prefix.check(*names, "kept.jpg", "never.jpg").gone == 5
    assert prefix.gone() == names
    assert prefix.check(*names).gone == 0


def test_a_prefix_that_no_scan_has_seen_becomes_a_root(prefix: Prefix) -> None:
    prefix.bucket.put("trip/deep/er/a.jpg", b"x")
    assert prefix.unseen("deep/er/a.jpg") == ["deep/er/a.jpg"]
    with prefix.database.read() as connection:
        assert str(prefix.path) in connection.scalars(select(roots.c.location)).all()


def test_a_bucket_that_refuses_marks_nothing(prefix: Prefix) -> None:
    prefix.record("a.jpg")
    with prefix.bucket.proxy.refusing(), pytest.raises(BucketUnavailable, match="refuses access"):
        prefix.check("a.jpg")
    prefix.bucket.delete("trip/a.jpg")  # which empties the prefix, as a mount point without its disk is
    with pytest.raises(BucketUnavailable, match="it is empty"):
        prefix.check("a.jpg")
    assert prefix.gone() == []


def test_an_object_that_alone_is_refused_is_left_open(prefix: Prefix) -> None:
    prefix.record("a.jpg", "b.jpg")
    prefix.bucket.put("trip/b.jpg", b"changed")
    prefix.bucket.proxy.inject(Fault("a.jpg", "HEAD", 99, status=403))
    changes = prefix.check("a.jpg", "b.jpg")
    assert (len(changes.unseen), changes.gone, changes.unreadable) == (1, 0, 1)
