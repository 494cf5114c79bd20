"""Scans of buckets find new, changed and gone objects, page by page, and mark nothing when a bucket is unavailable."""

import pytest
from sqlalchemy import select
from support.buckets import Bucket, Fault
from support.ledgers import LedgerBuilder
from support.program_libraries import LIBRARIES

from tagger.database.connection import Database
from tagger.database.tables import photos, roots
from tagger.errors import BucketUnavailable
from tagger.jobs.enqueue import scan
from tagger.jobs.enqueue.scan import Scan, ScanReport, require_available_roots, select_paths
from tagger.ledger.jobs import NewJob, finish_scan
from tagger.photos import buckets, object_store
from tagger.photos.buckets import ObjectSource
from tagger.photos.paths import ObjectPath, parse_path


class Prefixes:
    """Scans prefixes of a bucket."""

    def __init__(self, database: Database, bucket: Bucket) -> None:
        self.ledger = LedgerBuilder(database)
        self.bucket = bucket

    def scan(self, prefix: str = "", **patterns: tuple[str, ...]) -> ScanReport:
        job = self.ledger.scanning()
        selection = select_paths([parse_path(f"{self.bucket.address}/{prefix}")], **patterns)
        require_available_roots(self.ledger.database, selection, {})
        new = NewJob(self.ledger.model_id, 5, 0.5)
        report = Scan(self.ledger.database, job, new, {}).run(selection)
        finish_scan(self.ledger.database, job)
        of_others = report.in_other_jobs.total()
        assert self.ledger.progress(job).total + of_others == report.found
        return report

    def counts(self, prefix: str = "", **patterns: tuple[str, ...]) -> tuple[int, int, int, int]:
        report = self.scan(prefix, **patterns)
        assert report.problems == []
        return report.found, report.new, report.changed, report.gone

    def paths(self, *, gone: bool = False) -> list[str]:
        query = (
            select(photos.c.path, photos.c.gone_since)
            .join(roots, roots.c.id == photos.c.root_id)
            .where(roots.c.location.startswith("s3:"))
            .order_by(photos.c.path)
        )
        with self.ledger.database.read() as connection:
            return [row.path for row in connection.execute(query) if (row.gone_since is not None) == gone]

    def locations(self) -> list[str]:
        with self.ledger.database.read() as connection:
            return list(
                connection.scalars(select(roots.c.location).where(roots.c.location.startswith("s3:")))
            )


@pytest.fixture
def prefixes(database, bucket, monkeypatch) -> Prefixes:
    monkeypatch.setattr(object_store, "RETRY_PAUSE_S", 0.01)
    monkeypatch.setattr(buckets, "PAGE", 10)
    monkeypatch.setattr(scan, "PAGE", 10)
    return Prefixes(database, bucket)


def test_scans_find_new_changed_and_gone_objects(prefixes, bucket):
    for name in ("a.jpg", "b.jpg", "sub/c.jpg", "ä %2F+#?&.jpg"):
        bucket.put(f"trip/{name}", b"old")
    bucket.put("trip2/d.jpg", b"not below the prefix")
    assert prefixes.counts("trip") == (4, 4, 0, 0)
    assert prefixes.locations() == [f"{bucket.address}/trip"]
    assert prefixes.paths() == ["a.jpg", "b.jpg", "sub/c.jpg", "ä %2F+#?&.jpg"]
    assert prefixes.counts("trip") == (4, 0, 0, 0)
    bucket.put("trip/b.jpg", b"new")  # of the same size, often in the same second
    bucket.delete("trip/sub/c.jpg")
    assert prefixes.counts("trip") == (3, 0, 1, 1)
    assert prefixes.paths(gone=True) == ["sub/c.jpg"]
    bucket.put("trip/sub/c.jpg", b"back")
    assert prefixes.counts("trip") == (4, 0, 1, 0)


def test_hidden_objects_and_those_that_patterns_exclude_are_not_found(prefixes, bucket):
    for name in ("a.jpg", ".hidden.jpg", ".trash/b.jpg", "@eaDir/c.jpg", "notes.txt", "skip/d.jpg", "e.PNG"):
        bucket.put(name, b"x")
    bucket.put("folder/", b"")
    assert prefixes.counts(exclude=("skip",)) == (2, 2, 0, 0)
    assert prefixes.paths() == ["a.jpg", "e.PNG"]
    assert prefixes.counts(include=("a.*",)) == (1, 0, 0, 0)
    bucket.delete("e.PNG")
    assert prefixes.counts(include=("a.*",)) == (1, 0, 0, 1)


def test_originals_of_a_library_are_photos_and_copies_are_not(bucket):
    paths = {
        f"{name}/{path}": is_photo
        for name, library in LIBRARIES.items()
        for path, is_photo in library.items()
    }
    for path in paths:
        bucket.put(path, b"x")
    found = ObjectSource(ObjectPath(bucket.address)).photos()
    listed = {str(photo.path).removeprefix(f"{bucket.address}/") for photo in found}
    assert listed == {path for path, is_photo in paths.items() if is_photo}


def test_objects_that_only_their_extension_leaves_out_are_counted(prefixes, bucket):
    names = ("a.jpg", "a.jpg.xmp", "b.MP4", "sub/c.mp4", "d.txt", ".e.mp4", ".trash/f.mp4", "skip/g.mp4")
    for name in names:
        bucket.put(name, b"x")
    bucket.put("folder/", b"")
    report = prefixes.scan(exclude=("skip",))
    assert (report.found, report.other_files.count) == (1, 3)
    assert report.other_files.by_extension == {".mp4": 2, ".txt": 1}


def test_a_scan_takes_no_request_per_object(prefixes, bucket):
    for number in range(30):
        bucket.put(f"{number:02}.jpg", b"x")
    prefixes.scan()
    for number in range(15):
        bucket.delete(f"{number:02}.jpg")
    bucket.proxy.calls.clear()
    assert prefixes.counts() == (15, 0, 0, 15)
    assert bucket.proxy.count("HEAD") == 0
    assert bucket.proxy.count("GET") < 10


def test_a_listing_that_is_cut_goes_on_after_the_last_key(prefixes, bucket):
    for number in range(25):
        bucket.put(f"{number:02}.jpg", b"x")
    bucket.proxy.page_keys = 10
    bucket.proxy.inject(
        Fault("continuation-token", cut_after=100),
        Fault("start-after", status=503, code="SlowDown", times=2),
    )
    assert prefixes.counts() == (25, 25, 0, 0)
    assert bucket.proxy.count("GET", "start-after=09.jpg") >= 3


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        (403, "AccessDenied", "refuses access"),
        (404, "NoSuchBucket", "no such bucket"),
        pytest.param(400, "ExpiredToken", "credentials have expired (ExpiredToken)", marks=pytest.mark.slow),
    ],
)
def test_a_bucket_that_refuses_marks_nothing_as_gone(prefixes, bucket, status, code, text):
    bucket.put("a.jpg", b"x")
    prefixes.scan()
    selection = select_paths([parse_path(bucket.address)])
    with bucket.proxy.refusing(status, code):
        with pytest.raises(BucketUnavailable) as problem:
            require_available_roots(prefixes.ledger.database, selection, {})
        assert text in str(problem.value)
        with pytest.raises(BucketUnavailable, match=r"No photo was marked as gone"):
            select_paths([parse_path(bucket.address)])
    assert prefixes.paths() == ["a.jpg"]
    assert prefixes.counts() == (1, 0, 0, 0)


def test_a_listing_that_fails_in_between_marks_nothing_as_gone(prefixes, bucket):
    for number in range(25):
        bucket.put(f"{number:02}.jpg", b"x")
    prefixes.scan()
    for number in range(5, 25):
        bucket.delete(f"{number:02}.jpg")
    bucket.proxy.page_keys = 10
    refusal = Fault("list-type", times=10**9, status=403, code="AccessDenied")
    bucket.proxy.inject(Fault("list-type", times=4), refusal)  # three checks and the first page
    with pytest.raises(BucketUnavailable, match="refuses access"):
        prefixes.scan()
    assert prefixes.paths(gone=True) == []


def test_the_reason_is_that_of_the_listing_that_failed_although_the_next_one_succeeds(prefixes, bucket):
    bucket.put("a.jpg", b"x")
    prefixes.scan()
    database = prefixes.ledger.database
    selection = select_paths([parse_path(bucket.address)])
    bucket.proxy.inject(Fault("list-type", status=403, code="AccessDenied"))
    with pytest.raises(BucketUnavailable, match="refuses access") as problem:
        require_available_roots(database, selection, {})
    assert "forget" not in str(problem.value)


def test_an_empty_prefix_with_stored_photos_is_unavailable(prefixes, bucket):
    bucket.put("trip/a.jpg", b"x")
    prefixes.scan("trip")
    bucket.delete("trip/a.jpg")
    with pytest.raises(BucketUnavailable, match=r"database has 1 photo in it.*tagger forget s3://"):
        prefixes.scan("trip")
    assert prefixes.paths(gone=True) == []


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("b//c.jpg", "has an empty part (//)"),
        ("b/../c.jpg", "one that is a dot"),
        ("b/\u00e9 +%2F\x7f.jpg", "a control character"),
        ("/z.jpg", "begins with a slash"),
        ("/a.jpg", "begins with a slash"),
    ],
)
def test_a_key_that_cannot_be_read_fails_the_listing_and_marks_nothing_as_gone(
    prefixes, bucket, key, problem
):
    for name in ("-.jpg", "0.jpg", "a.jpg", "b/+ %2F.jpg", "b/c-d.jpg", "b/z.jpg"):
        bucket.put(name, b"x")
    bucket.put("b/", b"")
    assert prefixes.counts() == (6, 6, 0, 0)
    bucket.put(key, b"x")
    bucket.delete("b/z.jpg")
    with pytest.raises(BucketUnavailable) as unavailable:
        prefixes.scan()
    assert problem in str(unavailable.value)
    assert "Rename that object" in str(unavailable.value)
    assert prefixes.paths(gone=True) == []
    bucket.delete(key)
    assert prefixes.counts() == (5, 0, 0, 1)


@pytest.mark.postgresql
def test_a_prefix_above_a_root_absorbs_it(prefixes, bucket):
    bucket.put("trip/sub/a.jpg", b"x")
    prefixes.scan("trip/sub")
    assert prefixes.counts() == (1, 0, 0, 0)
    assert prefixes.locations() == [bucket.address]
    assert prefixes.paths() == ["trip/sub/a.jpg"]


def test_a_single_object_is_found_whatever_its_extension(prefixes, bucket):
    bucket.put("trip/raw.data", b"x")
    bucket.put("trip/a.jpg", b"x")
    assert prefixes.counts("trip/raw.data") == (1, 1, 0, 0)
    assert prefixes.counts("trip") == (1, 1, 0, 0)
    assert prefixes.paths() == ["a.jpg", "raw.data"]
