"""What a share shows: shares as JSON, and whether a photo belongs to one, asked for every image that a visitor loads."""

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from tagger.database.connection import Database
from tagger.database.tables import photos
from tagger.library.catalog.landmarks import all_landmarks
from tagger.library.catalog.roots import RootPaths
from tagger.library.query.filter_words import description
from tagger.library.query.filters import ResolvedQuery
from tagger.library.query.options import PhotoQuery
from tagger.library.query.tagged_photos import select_photos, tag_rows
from tagger.library.query.trip_summaries import TripSummary, summaries_of_trips
from tagger.library.shares.links import Share
from tagger.photos.paths import path_from_json
from tagger.system.documents import document_of


@dataclass(frozen=True)
class ShareDocument:
    """A share without its link. `options` are those of its query, `description` says them in words.

    `photos`: the number of photos of a fixed selection; of a query, that of now if one share is asked for, else null. `author`: who
    made it, as in the audit log.
    """

    id: int
    name: str
    state: Literal["active", "expired", "revoked"]
    options: dict[str, Any] | None
    description: str
    photos: int | None
    with_positions: bool
    author: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


def share_documents(database: Database, shares: Sequence[Share]) -> list[ShareDocument]:
    """The shares. `options` are those of a query, or null for a fixed selection, which has `photos` photos.

    `description` says the photos in the words of the page's filters. Landmarks and trips are read once for all shares.
    """
    with database.read() as connection:
        names = {each.slug: each.display_name for each in all_landmarks(connection)}
    trip_ids = {trip_id for share in shares if (trip_id := share.query.trip) is not None}
    trips = summaries_of_trips(database, trip_ids)
    return [
        document_of(ShareDocument, share, description=_description(share, names, trips)) for share in shares
    ]


NAMES_TTL_S = 5.0
"""How long the names of a query stay resolved: finding a trip reads the photos of a year. Tags and verdicts are read anew each time."""
MOST_SHARES = 200


class SharedPhotos:
    """The photos of shares. Created once per server."""

    def __init__(self, database: Database, root_paths: RootPaths) -> None:
        self._database = database
        self._root_paths = root_paths
        self._lock = threading.Lock()
        self._resolved: OrderedDict[int, tuple[float, ResolvedQuery]] = OrderedDict()

    def contains(self, share: Share, photo_id: int) -> bool:
        """Whether the share's query finds the photo now.

        Raises:
            LandmarkNotFound, CountryNotFound, ModelNotFound, TripNotFound: a name is not in the database any more.
        """
        resolved = self._resolve(share)
        query = select_photos().where(photos.c.id == photo_id, *resolved.conditions())
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
            if row is None:
                return False
            content_ids = [] if row.content_id is None else [row.content_id]
            photo_tags = tag_rows(connection, content_ids).get(row.content_id, ())
        return resolved.select_tags(row, photo_tags) is not None

    def _resolve(self, share: Share) -> ResolvedQuery:
        now_s = time.monotonic()
        with self._lock:
            resolved_s, resolved = self._resolved.get(share.id, (0.0, None))
        if resolved is not None and now_s - resolved_s < NAMES_TTL_S:
            return resolved
        with self._database.read() as connection:
            resolved = ResolvedQuery.resolve(connection, share.query, self._root_paths)
        with self._lock:
            self._resolved[share.id] = now_s, resolved
            self._resolved.move_to_end(share.id)
            while len(self._resolved) > MOST_SHARES:
                self._resolved.popitem(last=False)
        return resolved


def _description(share: Share, names: Mapping[str, str], trips: Mapping[str, TripSummary]) -> str:
    if share.options is None:
        return share.photos_text
    options = {name: _address_text(name, value) for name, value in share.options.items()}
    query = share.query
    return description(options, query, names, _trip_name(query, trips))


def _trip_name(query: PhotoQuery, trips: Mapping[str, TripSummary]) -> str | None:
    """None where the trip of the query is no more, also if another one has its id."""
    summary = trips.get(query.trip or "")
    if summary is None or (query.trip_moment is not None and not summary.trip.contains(query.trip_moment)):
        return None
    return summary.title


def _address_text(name: str, value: Any) -> str | tuple[str, ...]:
    """The value of an option as addresses have it."""
    if isinstance(value, list):
        return tuple(str(path_from_json(each) if name == "under" else each) for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
