"""Tags embedded into photos in buckets: only where the former version is kept, only over what was read, and taken back."""

import pytest
from PIL import Image
from support.buckets import Bucket, Fault
from support.written_bucket import WrittenBucket
from support.written_folder import EMBED, SIDECAR

from tagger.database.enums import Target
from tagger.jobs.enqueue.job_options import MetadataOptions
from tagger.metadata import bucket_files
from tagger.metadata.errors import RefusalKind
from tagger.metadata.photo_writer import photo_fields

EMBED_OBJECTS = MetadataOptions(Target.EMBED, embed_objects=True)


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
    photos.draw("a.jpg", 0)
    photos.tag_bucket()
    before = photos.objects()
    assert photos.write(EMBED_OBJECTS) == {"a.jpg": "refused"}
    reason, text = photos.refusal("a.jpg")
    assert reason == RefusalKind.BUCKET
    assert "the bucket has no versioning, or it is suspended. Switch it on" in text
    assert {name: data for name, data in photos.objects().items() if name in before} == before
    assert "a.jpg.xmp" in photos.objects()


def test_a_server_that_does_not_tell_gets_sidecars(photos: WrittenBucket, bucket: Bucket) -> None:
    set_versioning(bucket, "Enabled")
    photos.draw("a.jpg", 0)
    photos.tag_bucket()
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
    photos.draw("a.jpg", 0)
    photos.tag_bucket()
    before = photos.objects()
    bucket.proxy.inject(Fault("/a.jpg", method="PUT", lost=True), Fault("/a.jpg", method="PUT", dropped=True))
    assert photos.write(EMBED_OBJECTS) == {"a.jpg": "written"}
    assert photos.undo() == {"a.jpg": "written"}
    assert photos.objects() == before


def test_undo_leaves_photos_alone_once_versioning_is_off(photos: WrittenBucket, bucket: Bucket) -> None:
    set_versioning(bucket, "Enabled")
    photos.draw("a.jpg", 0)
    photos.tag_bucket()
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
    photos.draw("a.jpg", 0)
    photos.tag_bucket()
    photos.write(EMBED_OBJECTS)
    written = photos.objects()
    assert photos.write(EMBED) == {"a.jpg": "refused"}
    assert photos.write(SIDECAR) == {"a.jpg": "unchanged"}
    assert photos.objects()["a.jpg"] == written["a.jpg"]
