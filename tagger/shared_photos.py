"""What visitors with the link of a share see of its photos: the only way in which its routes read them.

A position that the share hides is taken away before headings, tiles or documents are made of a photo, so
nothing that follows from it reaches a visitor. Whether a photo belongs to a share is asked for every image
that a visitor loads.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from tagger.database.connection import Database
from tagger.database.tables import photos
from tagger.query.cursors import decode_cursor, encode_cursor
from tagger.query.details import photo_details_by_id
from tagger.query.filters import ResolvedQuery
from tagger.query.find import find_surrounding, find_tagged_page
from tagger.query.options import PhotoQuery
from tagger.query.tagged_photos import Tag, TaggedPhoto, select_photos
from tagger.query.timeline import Section
from tagger.roots.roots import RootPaths
from tagger.shares import Share

NAMES_TTL_S = 5.0
"""How long the names of a query stay resolved: finding a trip reads the photos of a year."""


@dataclass(frozen=True)
class SharedPage:
    """Photos of a share as visitors see them, and the cursor of the next page; None: there is none."""

    photos: Sequence[TaggedPhoto]
    next: str | None


@dataclass(frozen=True)
class OpenedPhoto:
    """A photo as visitors see it, with all its landmarks, and the ids of those before and after it."""

    photo: TaggedPhoto
    previous: int | None
    following: int | None


class SharedPhotos:
    """The photos of shares. Created once per server. `count_sections` is `timeline_sections`, or its cache.

    Its methods raise LandmarkNotFound, CountryNotFound, ModelNotFound or TripNotFound if a name of the
    share's query is gone.
    """

    def __init__(
        self, database: Database, root_paths: RootPaths, count_sections: Callable[..., Sequence[Section]]
    ) -> None:
        self._database = database
        self._root_paths = root_paths
        self._count_sections = count_sections
        self._lock = threading.Lock()
        self._resolved: dict[int, tuple[float, ResolvedQuery]] = {}

    def sections(self, share: Share) -> Sequence[Section]:
        """The numbers of photos of the share's months, with headings of days."""
        return self._count_sections(share.query, with_places=share.with_positions)

    def page(
        self, share: Share, after: str | None, limit: int, *, month: str | None = None, skip: int = 0
    ) -> SharedPage:
        """At most `limit` photos after a cursor and `skip` others; `month`: of that alone.

        Raises:
            CursorInvalid: the cursor is not one of this share.
        """
        # Cursors have a hash of a query. That of the share's own could confirm a guess at its trip or place.
        identity = PhotoQuery(share=share.id)
        start = decode_cursor(after, identity) if after else None
        page = find_tagged_page(
            self._database, share.query, self._root_paths, start, limit, month=month, skip=skip
        )
        following = None if page.next is None else encode_cursor(page.next, identity)
        return SharedPage([_for_visitors(share, photo) for photo in page.photos], following)

    def photo(self, share: Share, photo_id: int) -> OpenedPhoto:
        """A photo of the share, one that it contains."""
        details = photo_details_by_id(self._database, photo_id, self._root_paths)
        around = find_surrounding(self._database, share.query, self._root_paths, photo_id, before=1, after=1)
        return OpenedPhoto(
            _for_visitors(share, replace(details.photo, position=details.position)),
            previous=next((photo.id for photo in around.previous), None),
            following=next((photo.id for photo in around.following), None),
        )

    def contains(self, share: Share, photo_id: int) -> bool:
        """Whether the share's query finds the photo now."""
        query = select_photos().where(photos.c.id == photo_id, *self._resolve(share).conditions())
        with self._database.read() as connection:
            return connection.execute(query).first() is not None

    def _resolve(self, share: Share) -> ResolvedQuery:
        now_s = time.monotonic()
        with self._lock:
            current = {id_: each for id_, each in self._resolved.items() if now_s - each[0] < NAMES_TTL_S}
            self._resolved = current
            found = current.get(share.id)
        if found is None:
            with self._database.read() as connection:
                found = now_s, ResolvedQuery.resolve(connection, share.query, self._root_paths)
            with self._lock:
                self._resolved[share.id] = found
        return found[1]


def _for_visitors(share: Share, photo: TaggedPhoto) -> TaggedPhoto:
    """What visitors see of a photo: the file's name, its picture, when it was taken, and its landmarks.

    A fact of a photo that is not named here is not for visitors.
    """
    return TaggedPhoto(
        id=photo.id,
        path=PurePath(photo.path).name,
        outcome=None,
        digest=None,
        width=photo.width,
        height=photo.height,
        taken_at=photo.taken_at,
        tags=tuple(_named_alone(tag) for tag in photo.tags if tag.accepted),
        position=photo.position if share.with_positions else None,
        colours=photo.colours,
    )


def _named_alone(tag: Tag) -> Tag:
    """The name of a landmark, which the picture shows, without where that is and why it has the tag."""
    return Tag(
        landmark=tag.landmark,
        name=tag.name,
        label=None,
        score=None,
        rank=None,
        accepted=True,
        verdict=None,
        country=None,
        latitude=None,
        longitude=None,
        model=None,
        source=tag.source,
        doubtful=None,
        position_odds=None,
        distance_m=None,
        reason=None,
        state=None,
    )
