"""The end of a bucket's listing: new keys are found with few requests, each once."""

from collections.abc import Sequence

import pytest
from support.buckets import Bucket

from tagger.photos.buckets import OVERLAP_S, BucketTail
from tagger.photos.folder_walk import FoundPhoto
from tagger.photos.paths import ObjectPath, parse_path


class Tail:
    """The tail of a bucket, with a clock."""

    def __init__(self, bucket: Bucket, exclude: tuple[str, ...] = ()) -> None:
        prefix = parse_path(bucket.address)
        assert isinstance(prefix, ObjectPath)
        self.prefix = prefix
        self.now = 0.0
        self._bucket = bucket
        self._tail = BucketTail(prefix, (), exclude)

    def all(self) -> list[str]:
        return self._keys(list(self._tail.all_photos(self.now)))

    def new(self) -> list[str]:
        return self._keys(self._tail.new_photos(self.now))

    def requests(self) -> int:
        """The number of listings that the next poll takes."""
        before = self._bucket.proxy.count("GET", "list-type=2")
        self.new()
        return self._bucket.proxy.count("GET", "list-type=2") - before

    def _keys(self, found: Sequence[FoundPhoto]) -> list[str]:
        return [str(photo.path.relative_to(self.prefix)) for photo in found]


@pytest.fixture
def tail(bucket: Bucket) -> Tail:
    bucket.put("2026/01/a.jpg", b"a")
    return Tail(bucket)


def test_photos_behind_the_greatest_key_are_new_once(tail: Tail, bucket: Bucket) -> None:
    assert tail.all() == ["2026/01/a.jpg"]
    assert tail.new() == []
    bucket.put("2026/02/b.jpg", b"b")
    bucket.put("2026/02/b.txt", b"b")
    bucket.put("2026/02/.hidden.jpg", b"b")
    assert tail.new() == ["2026/02/b.jpg"]
    assert tail.new() == []
    bucket.put("2026/02/b.jpg", b"changed")
    assert tail.new() == ["2026/02/b.jpg"]


def test_keys_before_the_greatest_are_found_by_a_listing_of_all(tail: Tail, bucket: Bucket) -> None:
    tail.all()
    bucket.put("2025/12/z.jpg", b"z")
    bucket.put("2026/01/a.jpg", b"changed")
    assert tail.new() == []
    assert tail.all() == ["2025/12/z.jpg", "2026/01/a.jpg"]


def test_uploads_that_overtake_each_other_are_found_for_a_while(tail: Tail, bucket: Bucket) -> None:
    tail.all()
    bucket.put("2026/02/9.jpg", b"9")
    assert tail.new() == ["2026/02/9.jpg"]
    tail.now += OVERLAP_S / 2
    bucket.put("2026/02/1.jpg", b"1")
    assert tail.new() == ["2026/02/1.jpg"]
    tail.now += OVERLAP_S
    assert tail.new() == []
    bucket.put("2026/02/5.jpg", b"5")
    assert tail.new() == []
    bucket.put("2026/03/1.jpg", b"1")
    assert tail.new() == ["2026/03/1.jpg"]


def test_a_poll_is_one_request_whatever_is_in_the_bucket(tail: Tail, bucket: Bucket) -> None:
    bucket.proxy.page_keys = 2
    for number in range(9):
        bucket.put(f"2026/01/{number}.jpg", b"x")
        bucket.put(f"videos/{number}.mp4", b"x")
    tail.all()
    assert tail.requests() == 1
    for number in range(6):
        bucket.put(f"videos/later/{number}.mp4", b"x")
    assert tail.requests() == 3
    tail.now += OVERLAP_S
    tail.new()
    tail.now += OVERLAP_S
    assert tail.requests() == 1


def test_an_empty_prefix_fills_and_patterns_apply(bucket: Bucket) -> None:
    tail = Tail(bucket, exclude=("private",))
    assert tail.all() == tail.new() == []
    bucket.put("a.jpg", b"a")
    bucket.put("private/b.jpg", b"b")
    assert tail.new() == ["a.jpg"]
    bucket.delete("a.jpg")
    assert tail.new() == []
