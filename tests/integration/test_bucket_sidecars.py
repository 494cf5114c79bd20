"""Sidecars of photos in buckets: written, updated and taken back under conditions, whatever happens on the way."""

import pytest
from support.buckets import Bucket, Fault
from support.written_bucket import OWNERS, WrittenBucket
from support.written_folder import EMBED, SIDECAR

from tagger.jobs.processing.claimed_chunk import ChunkEnd


def test_sidecars_are_written_beside_the_objects_and_taken_back(photos: WrittenBucket) -> None:
    photos.draw("a.jpg", 0)
    photos.draw("trip/b.JPG", 1)
    photos.draw("grey.jpg", None)
    photos.tag_bucket()
    before = photos.objects()
    assert photos.write(SIDECAR) == {"a.jpg": "written", "trip/b.JPG": "written"}
    after = photos.objects()
    assert after.keys() - before.keys() == {"a.jpg.xmp", "trip/b.JPG.xmp"}
    assert {name: after[name] for name in before} == before
    assert photos.keywords("a.jpg.xmp") == ["Eiffel Tower"]
    assert photos.write(SIDECAR) == {"a.jpg": "unchanged", "trip/b.JPG": "unchanged"}
    assert photos.tag_bucket() == {"a.jpg": "skipped", "trip/b.JPG": "skipped", "grey.jpg": "skipped"}
    assert photos.undo() == {"a.jpg": "written", "trip/b.JPG": "written"}
    assert photos.objects() == before
    assert photos.undo_rows == []


def test_an_existing_sidecar_is_merged_and_restored_with_its_headers(
    photos: WrittenBucket, bucket: Bucket
) -> None:
    photos.draw("a.jpg", 0)
    photos.tag_bucket()
    headers = {"ContentType": "text/xml", "CacheControl": "no-store", "Metadata": {"author": "me"}}
    bucket.client.put_object(Bucket=bucket.name, Key="a.jpg.xmp", Body=OWNERS, **headers)
    assert photos.write(SIDECAR) == {"a.jpg": "written"}
    assert photos.keywords("a.jpg.xmp") == ["holiday", "Eiffel Tower"]
    for is_undone in (False, True):
        if is_undone:
            photos.undo()
        head = bucket.client.head_object(Bucket=bucket.name, Key="a.jpg.xmp")
        assert {name: head[name] for name in headers} == headers
    assert photos.objects()["a.jpg.xmp"] == OWNERS


@pytest.mark.parametrize(
    "existing", [None, pytest.param(OWNERS.replace(b"holiday", b"before"), marks=pytest.mark.slow)]
)
def test_a_sidecar_that_another_program_writes_at_the_same_time_is_merged(
    photos: WrittenBucket, bucket: Bucket, existing: bytes | None
) -> None:
    photos.draw("a.jpg", 0)
    photos.draw("b.jpg", 1)
    photos.tag_bucket()
    if existing is not None:
        bucket.put("a.jpg.xmp", existing)
    race = Fault("/a.jpg.xmp", method="PUT", then=lambda: bucket.put("a.jpg.xmp", OWNERS))
    bucket.proxy.inject(race)
    assert photos.write(SIDECAR) == {"a.jpg": "written", "b.jpg": "written"}
    assert race.times == 0
    assert photos.keywords("a.jpg.xmp") == ["holiday", "Eiffel Tower"]
    photos.undo()
    assert photos.objects()["a.jpg.xmp"] == OWNERS
    assert photos.undo_rows == []


def test_undo_keeps_what_another_program_writes_at_the_same_time(
    photos: WrittenBucket, bucket: Bucket
) -> None:
    photos.draw("a.jpg", 0)
    photos.tag_bucket()
    photos.write(SIDECAR)
    edited = photos.objects()["a.jpg.xmp"].replace(b"</rdf:Bag>", b"<rdf:li>aunt</rdf:li></rdf:Bag>", 1)
    bucket.proxy.inject(Fault("/a.jpg.xmp", method="DELETE", then=lambda: bucket.put("a.jpg.xmp", edited)))
    assert photos.undo() == {"a.jpg": "written"}
    assert photos.keywords("a.jpg.xmp") == ["aunt"]
    assert photos.undo_rows == []


def test_sidecars_that_were_deleted_since_are_undone(photos: WrittenBucket, bucket: Bucket) -> None:
    photos.draw("a.jpg", 0)
    photos.draw("b.jpg", 1)
    photos.tag_bucket()
    photos.write(SIDECAR)
    bucket.delete("a.jpg.xmp")
    bucket.proxy.inject(Fault("/b.jpg.xmp", method="DELETE", then=lambda: bucket.delete("b.jpg.xmp")))
    photos.undo()
    assert photos.objects().keys() == {"a.jpg", "b.jpg"}
    assert photos.undo_rows == []


def test_embedding_is_refused_and_the_tags_go_into_a_sidecar(photos: WrittenBucket) -> None:
    photos.draw("a.jpg", 0)
    photos.tag_bucket()
    before = photos.objects()
    assert photos.write(EMBED) == {"a.jpg": "refused"}
    assert photos.objects().keys() == {"a.jpg", "a.jpg.xmp"}
    assert photos.undo() == {"a.jpg": "written"}
    assert photos.objects() == before


def test_a_job_that_dies_after_a_write_is_resumed(photos: WrittenBucket, bucket: Bucket) -> None:
    photos.draw("a.jpg", 0)
    photos.draw("b.jpg", 1)
    photos.tag_bucket()
    before = photos.objects()
    job = photos.create_write_job_for_workers(SIDECAR)
    bucket.proxy.inject(Fault("/a.jpg.xmp", method="PUT", then=lambda: photos.lose_leases(job)))
    assert photos.work(job) == [ChunkEnd.LOST]
    assert photos.objects().keys() - before.keys() == {"a.jpg.xmp", "b.jpg.xmp"}
    assert photos.progress(job).written == 0
    written = photos.objects()
    assert photos.work(job) == [ChunkEnd.DONE]
    assert photos.outcomes(job) == {"a.jpg": "written", "b.jpg": "written"}
    assert photos.objects() == written
    assert all(row.complete for row in photos.undo_rows)
    photos.undo()
    assert (photos.objects(), photos.undo_rows) == (before, [])


def test_an_object_named_after_another_leaves_it_its_sidecar(photos: WrittenBucket, bucket: Bucket) -> None:
    photos.draw("a.jpg", 0)
    bucket.put("a.jpg.cr3", photos.draw("b.jpg", 1))
    bucket.client.delete_object(Bucket=bucket.name, Key="b.jpg")
    bucket.put("a.jpg.xmp", OWNERS)
    photos.tag_bucket()
    before = photos.objects()
    assert photos.write(SIDECAR) == {"a.jpg": "refused", "a.jpg.cr3": "written"}
    assert photos.refusal("a.jpg")[0] == "sidecar"
    after = photos.objects()
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"a.jpg.cr3.xmp"}
    photos.undo()
    assert photos.objects() == before
