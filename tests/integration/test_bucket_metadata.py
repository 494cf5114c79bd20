"""Tags of photos in buckets, in sidecars and embedded: written, updated and taken back under conditions, whatever happens on the way."""

import pytest
from PIL import Image
from support.buckets import Bucket, Fault
from support.written_bucket import OWNERS, WrittenBucket
from support.written_folder import EMBED, SIDECAR

from tagger.database.enums import Target
from tagger.jobs.enqueue.job_options import MetadataOptions
from tagger.jobs.processing.claimed_chunk import ChunkEnd
from tagger.metadata import bucket_files
from tagger.metadata.errors import RefusalKind
from tagger.metadata.photo_writer import photo_fields

EMBED_OBJECTS = MetadataOptions(Target.EMBED, embed_objects=True)


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
    photos.draw_and_tag("a.jpg")
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
    photos.draw_and_tag("a.jpg", "b.jpg")
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
    photos.draw_and_tag("a.jpg")
    photos.write(SIDECAR)
    edited = photos.objects()["a.jpg.xmp"].replace(b"</rdf:Bag>", b"<rdf:li>aunt</rdf:li></rdf:Bag>", 1)
    bucket.proxy.inject(Fault("/a.jpg.xmp", method="DELETE", then=lambda: bucket.put("a.jpg.xmp", edited)))
    assert photos.undo() == {"a.jpg": "written"}
    assert photos.keywords("a.jpg.xmp") == ["aunt"]
    assert photos.undo_rows == []


def test_sidecars_that_were_deleted_since_are_undone(photos: WrittenBucket, bucket: Bucket) -> None:
    photos.draw_and_tag("a.jpg", "b.jpg")
    photos.write(SIDECAR)
    bucket.delete("a.jpg.xmp")
    bucket.proxy.inject(Fault("/b.jpg.xmp", method="DELETE", then=lambda: bucket.delete("b.jpg.xmp")))
    assert photos.undo()["a.jpg"] == "refused"
    assert photos.objects().keys() == {"a.jpg", "b.jpg"}
    assert [(row.file, row.photo_id, row.complete) for row in photos.undo_rows] == [
        ("a.jpg.xmp", None, False)
    ]


def test_embedding_is_refused_and_the_tags_go_into_a_sidecar(photos: WrittenBucket) -> None:
    photos.draw_and_tag("a.jpg")
    before = photos.objects()
    assert photos.write(EMBED) == {"a.jpg": "refused"}
    assert photos.objects().keys() == {"a.jpg", "a.jpg.xmp"}
    assert photos.undo() == {"a.jpg": "written"}
    assert photos.objects() == before


def test_a_job_that_dies_after_a_write_is_resumed(photos: WrittenBucket, bucket: Bucket) -> None:
    photos.draw_and_tag("a.jpg", "b.jpg")
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


def set_versioning(bucket: Bucket, status: str) -> None:
    bucket.client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": status})


def image_of(photos: WrittenBucket, name: str) -> bytes:
    (photos.folder / "downloaded").write_bytes(photos.objects()[name])
    with Image.open(photos.folder / "downloaded") as image:
        return image.tobytes()


def test_tags_are_embedded_and_taken_back_byte_for_byte(photos: WrittenBucket, bucket: Bucket) -> None:
    set_versioning(bucket, "Enabled")
    photos.draw("a.jpg", 0)
    photos.draw("trip/b.png", 1)
    headers = {"ContentType": "image/jpeg", "CacheControl": "no-store", "Metadata": {"author": "me"}}
    photo = photos.folder / "a.jpg"
    bucket.client.put_object(Bucket=bucket.name, Key="a.jpg", Body=photo.read_bytes(), **headers)
    photos.tag_bucket()
    before, image = photos.objects(), image_of(photos, "a.jpg")
    assert photos.write(EMBED_OBJECTS) == {"a.jpg": "written", "trip/b.png": "written"}
    after = photos.objects()
    assert after.keys() == before.keys()
    assert photo_fields(after["a.jpg"])["XMP:dc:subject"] == ["Eiffel Tower"]
    assert image_of(photos, "a.jpg") == image
    head = bucket.client.head_object(Bucket=bucket.name, Key="a.jpg")
    assert {name: head[name] for name in headers} == headers
    assert photos.tag_bucket() == {"a.jpg": "skipped", "trip/b.png": "skipped"}
    assert photos.write(EMBED_OBJECTS) == {"a.jpg": "unchanged", "trip/b.png": "unchanged"}
    assert photos.undo() == {"a.jpg": "written", "trip/b.png": "written"}
    assert (photos.objects(), photos.undo_rows) == (before, [])
    assert photos.tag_bucket() == {"a.jpg": "skipped", "trip/b.png": "skipped"}


@pytest.mark.parametrize("status", [None, "Suspended"])
def test_without_versioning_the_tags_go_into_a_sidecar(
    photos: WrittenBucket, bucket: Bucket, status: str | None
) -> None:
    if status:
        set_versioning(bucket, "Enabled")
        set_versioning(bucket, status)
    photos.draw_and_tag("a.jpg")
    before = photos.objects()
    assert photos.write(EMBED_OBJECTS) == {"a.jpg": "refused"}
    reason, text = photos.refusal("a.jpg")
    assert reason == RefusalKind.BUCKET
    assert "the bucket has no versioning, or it is suspended. Switch it on" in text
    assert {name: data for name, data in photos.objects().items() if name in before} == before
    assert "a.jpg.xmp" in photos.objects()


def test_a_server_that_does_not_tell_gets_sidecars(photos: WrittenBucket, bucket: Bucket) -> None:
    set_versioning(bucket, "Enabled")
    photos.draw_and_tag("a.jpg")
    before = photos.objects()
    bucket.proxy.inject(Fault("versioning", status=403, code="AccessDenied", times=9))
    assert photos.write(EMBED_OBJECTS) == {"a.jpg": "refused"}
    assert "Grant the credentials s3:GetBucketVersioning" in photos.refusal("a.jpg")[1]
    assert photos.objects()["a.jpg"] == before["a.jpg"]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"Tagging": "project=x"}, "it has tags, which would be lost"),
        ({"StorageClass": "STANDARD_IA"}, "it has a storage class of its own, which would be lost"),
    ],
    ids=["tags", "storage class"],
)
def test_a_photo_whose_settings_would_be_lost_is_not_replaced(
    photos: WrittenBucket, bucket: Bucket, settings: dict[str, str], text: str
) -> None:
    set_versioning(bucket, "Enabled")
    data = photos.draw("a.jpg", 0).read_bytes()
    bucket.client.put_object(Bucket=bucket.name, Key="a.jpg", Body=data, **settings)
    photos.tag_bucket()
    assert photos.write(EMBED_OBJECTS) == {"a.jpg": "refused"}
    assert text in photos.refusal("a.jpg")[1]
    assert photos.objects()["a.jpg"] == data


def test_a_photo_that_is_replaced_at_the_same_time_stays(photos: WrittenBucket, bucket: Bucket) -> None:
    set_versioning(bucket, "Enabled")
    photos.draw("a.jpg", 0)
    other = photos.draw("b.jpg", 1).read_bytes()
    photos.tag_bucket()
    bucket.proxy.inject(Fault("/a.jpg", method="PUT", then=lambda: bucket.put("a.jpg", other)))
    assert photos.write(EMBED_OBJECTS) == {"a.jpg": "refused", "b.jpg": "written"}
    assert photos.refusal("a.jpg")[0] == RefusalKind.CHANGED
    assert photos.objects()["a.jpg"] == other


def test_an_answer_that_is_lost_counts_as_written(photos: WrittenBucket, bucket: Bucket) -> None:
    set_versioning(bucket, "Enabled")
    photos.draw_and_tag("a.jpg")
    before = photos.objects()
    bucket.proxy.inject(Fault("/a.jpg", method="PUT", lost=True), Fault("/a.jpg", method="PUT", dropped=True))
    assert photos.write(EMBED_OBJECTS) == {"a.jpg": "written"}
    assert photos.undo() == {"a.jpg": "written"}
    assert photos.objects() == before


def test_undo_leaves_photos_alone_once_versioning_is_off(photos: WrittenBucket, bucket: Bucket) -> None:
    set_versioning(bucket, "Enabled")
    photos.draw_and_tag("a.jpg")
    before = photos.objects()
    photos.write(EMBED_OBJECTS)
    written = photos.objects()
    set_versioning(bucket, "Suspended")
    bucket_files._checked.clear()
    assert photos.undo() == {"a.jpg": "refused"}
    assert photos.objects() == written
    set_versioning(bucket, "Enabled")
    assert photos.undo() == {"a.jpg": "written"}
    assert photos.objects() == before


def test_other_targets_leave_embedded_photos_alone(photos: WrittenBucket, bucket: Bucket) -> None:
    set_versioning(bucket, "Enabled")
    photos.draw_and_tag("a.jpg")
    photos.write(EMBED_OBJECTS)
    written = photos.objects()
    assert photos.write(EMBED) == {"a.jpg": "refused"}
    assert photos.write(SIDECAR) == {"a.jpg": "unchanged"}
    assert photos.objects()["a.jpg"] == written["a.jpg"]
