"""Photos in buckets are only read: what would write them, or undo what version 1 wrote, is refused."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import insert, select
from support.buckets import Bucket
from support.written_folder import WrittenBucket

from tagger.database.enums import Target
from tagger.database.tables import contents, metadata_writes
from tagger.jobs.enqueue.submission import WRITE, MetadataOptions
from tagger.metadata.photo_files import find_photo_files
from tagger.photos import buckets
from tagger.photos.paths import parse_path


def test_what_version_1_wrote_stays_recorded_and_is_not_undone(photos: WrittenBucket) -> None:
    photos.draw_and_tag("a.jpg", "b.jpg")
    with photos.database.read() as connection:
        digest = connection.scalar(
            select(contents.c.digest).where(contents.c.id == photos.photo("a.jpg").content_id)
        )
    row = {
        "photo_id": photos.photo("a.jpg").id,
        "job_id": photos.latest().job,
        "image_digest": digest,
        "target": Target.SIDECAR,
        "file": "a.jpg.xmp",
        "written_digest": "0" * 64,
        "base_digest": None,
        "undo": None,
        "landmarks": ["eiffel-tower"],
        "written_at": datetime.now(UTC),
        "complete": True,
    }
    with photos.database.write() as connection:
        connection.execute(insert(metadata_writes), [row])
    assert photos.undo() == {"a.jpg": "refused"}
    assert photos.refusal("a.jpg")[1].endswith("What version 1 wrote there is undone with version 1.")
    assert len(photos.undo_rows) == 1


def test_options_that_version_1_stored_are_understood() -> None:
    stored = {WRITE: {"to": "embed", "embed_objects": True}}
    assert MetadataOptions.from_job_options(stored) == MetadataOptions(Target.EMBED)


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ((), ()),
        (("IMG_1.xmp",), ("IMG_1.xmp",)),
        (("IMG_1.XMP", "IMG_1.jpg.xmp"), ("IMG_1.jpg.xmp", "IMG_1.XMP")),
        (("IMG_1.xmp", "IMG_1.CR3"), ()),
        (("IMG_1.xmp", "IMG_1-1.jpg", "IMG_10.jpg", "IMG_1/IMG_1.cr3"), ("IMG_1.xmp",)),
        (("img_1.xmp", "IMG_1.jpg.xmpx", "sub/IMG_1.jpg.xmp"), ()),
    ],
)
def test_sidecars_of_objects_are_found(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, others: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    monkeypatch.setattr(buckets, "PAGE", 2)
    bucket.proxy.page_keys = 2
    for prefix in ("", "trip ä/"):
        for name in ("IMG_1.jpg", *others):
            bucket.put(prefix + name, b"content")
        photo = parse_path(f"{bucket.address}/{prefix}IMG_1.jpg")
        assert find_photo_files(photo).beside == tuple(photo.with_name(name) for name in expected)
