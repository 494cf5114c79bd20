"""Whether a photo belongs to a share, asked for every image that a visitor loads."""

import threading
import time
from collections import OrderedDict

from tagger.database.connection import Database
from tagger.database.tables import photos
from tagger.library.catalog.roots import RootPaths
from tagger.library.query.filters import ResolvedQuery
from tagger.library.query.tagged_photos import select_photos, tag_rows
from tagger.library.shares.links import Share

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
