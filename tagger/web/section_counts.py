"""The sections of timelines, kept for a while: counting a million photos takes seconds, and a page is reloaded often."""

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence

from tagger.catalog.roots import RootPaths
from tagger.database.connection import Database
from tagger.query import PhotoQuery
from tagger.query.timeline import Section, timeline_sections

COST_FACTOR = 20.0
"""A count stays fresh for this many times its duration, so that counting takes at most 5 % of the time."""
MOST_QUERIES = 100


class SectionCounts:
    """Sections by query. Created once per server."""

    def __init__(self, database: Database, root_paths: RootPaths) -> None:
        self._database = database
        self._root_paths = root_paths
        self._lock = threading.Lock()
        self._fresh: OrderedDict[PhotoQuery, tuple[float, Sequence[Section]]] = OrderedDict()

    def sections(self, query: PhotoQuery) -> Sequence[Section]:
        """Return the sections of the query; raises as `timeline_sections`."""
        start_s = time.monotonic()
        with self._lock:
            until_s, sections = self._fresh.get(query, (0.0, ()))
        if start_s < until_s:
            return sections
        sections = timeline_sections(self._database, query, self._root_paths)
        now_s = time.monotonic()
        with self._lock:
            self._fresh[query] = now_s + COST_FACTOR * (now_s - start_s), sections
            self._fresh.move_to_end(query)
            while len(self._fresh) > MOST_QUERIES:
                self._fresh.popitem(last=False)
        return sections
