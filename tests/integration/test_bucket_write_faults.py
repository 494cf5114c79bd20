"""Sidecars in buckets that fail, race or refuse: what is there afterwards is old or new, and the text says what to do."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from support.buckets import Bucket, Fault
from support.empty_databases import create_sqlite_database
from support.written_bucket import OWNERS, WrittenBucket
from support.written_folder import SIDECAR

from tagger.database.enums import Runner
from tagger.jobs.processing import metadata_chunk
from tagger.jobs.processing.metadata_chunk import remove_interrupted_files
from tagger.jobs.processing.unlogged_undo import preview_unlogged_undo, undo_unlogged
from tagger.ledger.chunks import claim_next_chunk
from tagger.library.catalog.roots import forget_path
from tagger.metadata import bucket_files
from tagger.metadata.bucket_files import find_object_sidecars
from tagger.metadata.errors import RefusalKind
from tagger.photos import signed_requests
from tagger.photos.paths import parse_path


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """SQLite alone: what differs between the databases is in test_bucket_metadata."""
    return create_sqlite_database(tmp_path / "database" / "tagger.sqlite")


def test_what_the_server_refuses_for_a_moment_is_repeated(photos: WrittenBucket, bucket: Bucket) -> None:
    photos.draw_and_tag("a.jpg")
    fault = Fault("/a.jpg.xmp", method="PUT", status=503, code="SlowDown", times=2)
    bucket.proxy.inject(fault)
    assert photos.write(SIDECAR) == {"a.jpg": "written"}
    assert fault.times == 0


@pytest.mark.parametrize("what", ["the answer", "the request"])
def test_a_write_of_which_a_part_is_lost_is_done_once(
    photos: WrittenBucket, bucket: Bucket, what: str
) -> None:
    photos.draw_and_tag("a.jpg")
    lost = {"lost": what == "the answer", "dropped": what == "the request"}
    bucket.proxy.inject(Fault("/a.jpg.xmp", method="PUT", **lost))
    assert photos.write(SIDECAR) == {"a.jpg": "written"}
    assert photos.keywords("a.jpg.xmp") == ["Eiffel Tower"]
    bucket.proxy.inject(Fault("/a.jpg.xmp", method="DELETE", **lost))
    assert photos.undo() == {"a.jpg": "written"}
    assert photos.objects().keys() == {"a.jpg"}


def test_a_sidecar_that_keeps_changing_is_busy(
    photos: WrittenBucket, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata_chunk, "BUSY_TRIES", 3)
    monkeypatch.setattr(metadata_chunk, "BUSY_PAUSE_S", 0.01)
    photos.draw_and_tag("a.jpg")
    numbers = count()
    bucket.proxy.inject(
        Fault("/a.jpg.xmp", method="PUT", times=9, then=lambda: bucket.put("a.jpg.xmp", changed(numbers)))
    )
    assert photos.write(SIDECAR) == {"a.jpg": "refused"}
    reason, text = photos.refusal("a.jpg")
    assert reason == RefusalKind.BUSY
    assert "changed by another program at the same time" in text
    assert next(numbers) == 3


def changed(numbers: Iterator[int]) -> bytes:
    return OWNERS.replace(b"holiday", f"holiday {next(numbers)}".encode())


def test_a_photo_beside_which_nothing_may_be_written_is_refused_alone(
    photos: WrittenBucket, bucket: Bucket
) -> None:
    photos.draw_and_tag("a.jpg", "b.jpg")
    bucket.proxy.inject(Fault("/a.jpg.xmp", method="PUT", status=403, code="AccessDenied", times=9))
    assert photos.write(SIDECAR) == {"a.jpg": "refused", "b.jpg": "written"}
    reason, text = photos.refusal("a.jpg")
    assert reason == RefusalKind.READ_ONLY
    assert "(AccessDenied). Grant them s3:PutObject and s3:DeleteObject" in text


def test_nothing_is_written_that_could_not_be_deleted_again(photos: WrittenBucket, bucket: Bucket) -> None:
    photos.draw_and_tag("a.jpg")
    bucket.proxy.inject(Fault(method="DELETE", status=403, code="AccessDenied", times=9))
    assert photos.write(SIDECAR) == {"a.jpg": "refused"}
    assert "a.jpg.xmp" not in photos.objects()


@pytest.mark.parametrize("ignored", ["if-match", "if-none-match"])
def test_a_server_that_ignores_conditions_is_refused(
    photos: WrittenBucket, bucket: Bucket, ignored: str
) -> None:
    photos.draw_and_tag("a.jpg", "b.jpg")
    before = photos.objects()
    bucket.proxy.ignored_headers = {ignored}
    assert photos.write(SIDECAR) == {"a.jpg": "refused", "b.jpg": "refused"}
    reason, text = photos.refusal("a.jpg")
    assert reason == RefusalKind.BUCKET
    assert "ignores the conditions of writes" in text
    assert photos.objects() == before


def test_a_server_without_conditional_writes_is_refused(photos: WrittenBucket, bucket: Bucket) -> None:
    photos.draw_and_tag("a.jpg")
    bucket.proxy.inject(Fault(".tagger-check", method="PUT", status=501, code="NotImplemented", times=10**9))
    assert photos.write(SIDECAR) == {"a.jpg": "refused"}
    assert photos.objects().keys() == {"a.jpg"}


def test_a_check_object_that_cannot_be_deleted_is_the_only_one_and_is_deleted_later(
    photos: WrittenBucket, bucket: Bucket
) -> None:
    photos.draw_and_tag("a.jpg", "b.jpg")
    fault = Fault(".tagger-check", method="DELETE", status=403, code="AccessDenied", times=10**9)
    bucket.proxy.inject(fault)
    assert photos.write(SIDECAR) == {"a.jpg": "refused", "b.jpg": "refused"}
    assert "may not write or delete objects" in photos.refusal("b.jpg")[1]
    assert [key.partition("-")[0] for key in photos.objects()] == [".tagger", "a.jpg", "b.jpg"]
    fault.times = 0
    assert photos.write(SIDECAR) == {"a.jpg": "written", "b.jpg": "written"}
    assert photos.objects().keys() == {"a.jpg", "a.jpg.xmp", "b.jpg", "b.jpg.xmp"}


def test_the_check_object_of_a_process_that_died_is_deleted_once_it_is_old(
    photos: WrittenBucket, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos.draw_and_tag("a.jpg", "b.jpg")
    left = f".tagger-check-{'0' * 32}"
    bucket.put(left, bucket_files._TEXT)
    bucket.put(".tagger-check-of-another-program", b"x")
    photos.write(SIDECAR)
    assert left in photos.objects()  # its process may still check
    monkeypatch.setattr(bucket_files, "_supported", {})
    monkeypatch.setattr(bucket_files, "_OLD_S", -60.0)
    photos.undo()
    assert photos.objects().keys() == {".tagger-check-of-another-program", "a.jpg", "b.jpg"}


def test_the_check_object_of_a_killed_job_is_found_beside_its_photos(
    photos: WrittenBucket, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_files, "_OLD_S", -60.0)
    photos.draw_and_tag("trip/a.jpg")
    left = f"trip/.tagger-check-{'0' * 32}"
    bucket.put(left, bucket_files._TEXT)
    assert remove_interrupted_files(photos.database, {}) == 0
    job = photos.create_write_job_for_workers(SIDECAR)
    assert claim_next_chunk(photos.database, job, Runner.WORKERS, "killed")
    assert remove_interrupted_files(photos.database, {}, dry_run=True) == 1
    assert left in photos.objects()
    assert remove_interrupted_files(photos.database, {}) == 1
    assert left not in photos.objects()


def test_a_replaced_object_gets_no_sidecar_and_a_deleted_one_fails(
    photos: WrittenBucket, bucket: Bucket
) -> None:
    photos.draw("a.jpg", 0)
    photos.draw("b.jpg", 1)
    photos.draw("c.jpg", 1, shade=9)
    photos.tag_bucket()
    bucket.put("a.jpg", (photos.folder / "c.jpg").read_bytes())
    bucket.delete("b.jpg")
    assert photos.write(SIDECAR) == {"a.jpg": "refused", "b.jpg": "failed", "c.jpg": "written"}
    reasons = photos.reasons(photos.latest().job)
    assert (reasons["a.jpg"][1], reasons["b.jpg"][1]) == (RefusalKind.CHANGED, "gone")
    assert photos.objects().keys() == {"a.jpg", "c.jpg", "c.jpg.xmp"}


def test_sidecars_of_forgotten_photos_are_undone_by_name(photos: WrittenBucket, bucket: Bucket) -> None:
    photos.draw_and_tag("a.jpg")
    before = photos.objects()
    photos.write(SIDECAR)
    address = parse_path(bucket.address)
    forget_path(photos.database, address, {})
    (preview,) = preview_unlogged_undo(photos.database, photos.settings, [address / "a.jpg"])
    assert undo_unlogged(photos.database, preview, photos.settings.roots)[0] == "a.jpg.xmp deleted"
    assert photos.objects() == before


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ((), ()),
        (("IMG_1.xmp",), ("IMG_1.xmp",)),
        (("IMG_1.XMP", "IMG_1.jpg.xmp"), ("IMG_1.jpg.xmp", "IMG_1.XMP")),
        (("IMG_1.xmp", "IMG_1.CR3"), ()),
        (("IMG_1.xmp", "img_1.cr3"), ()),
        (("IMG_1.xmp", "IMG_1-1.jpg", "IMG_10.jpg", "IMG_1/IMG_1.cr3"), ("IMG_1.xmp",)),
        (("img_1.xmp", "IMG_1.jpg.xmpx", "sub/IMG_1.jpg.xmp"), ()),
    ],
)
def test_names_of_sidecars(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, others: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    monkeypatch.setattr(signed_requests, "PAGE", 2)
    bucket.proxy.page_keys = 2
    for prefix in ("", "trip ä/"):
        for name in ("IMG_1.jpg", *others):
            bucket.put(prefix + name, b"content")
        photo = parse_path(f"{bucket.address}/{prefix}IMG_1.jpg")
        assert find_object_sidecars(photo).paths == tuple(photo.with_name(name) for name in expected)  # type: ignore[arg-type]
