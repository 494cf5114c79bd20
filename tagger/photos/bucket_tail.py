"""The end of a bucket's listing, where new keys appear if their names grow, like those that begin with a date.

A listing that begins after the greatest key takes one request per thousand keys behind it, whatever the size of the bucket.
What appears elsewhere, changes or is deleted, only a listing of all keys finds.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from tagger.photos.folder_walk import FoundPhoto
from tagger.photos.object_paths import ObjectPath
from tagger.photos.objects import ObjectSource

OVERLAP_S = 600.0
"""Uploads that run side by side end in any order: a listing also has what was behind the greatest key of so long ago."""


class BucketTail:
    """The keys of a prefix, of which the last are listed again and again."""

    def __init__(self, prefix: ObjectPath, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        self._source = ObjectSource(prefix)
        self._include = include
        self._exclude = exclude
        self._greatest: deque[tuple[float, str]] = deque()
        self._listed: dict[Path, FoundPhoto] = {}

    def all_photos(self, now: float) -> Iterator[FoundPhoto]:
        """List all photos. `now` is the time in seconds of any clock.

        Raises:
            BucketUnavailable: the bucket cannot be listed (further).
        """
        last = ""
        for last, photo in self._source.objects(include=self._include, exclude=self._exclude):  # noqa: B007 - the last one
            if photo is not None:
                yield photo
        self._greatest = deque([(now, last)])
        self._listed = {}

    def new_photos(self, now: float) -> list[FoundPhoto]:
        """List the photos at the end that no earlier listing had, or had in another version. Needs `all_photos` first.

        Raises:
            BucketUnavailable: as `all_photos`.
        """
        while len(self._greatest) > 1 and self._greatest[1][0] <= now - OVERLAP_S:
            self._greatest.popleft()
        last = self._greatest[-1][1]
        photos = {}
        for key, photo in self._source.objects(
            include=self._include, exclude=self._exclude, after=self._greatest[0][1]
        ):
            last = max(last, key)
            if photo is not None:
                photos[photo.path] = photo
        new = [photo for path, photo in photos.items() if self._listed.get(path) != photo]
        self._greatest.append((now, last))
        self._listed = photos
        return new
