"""What was counted for queries, kept for a while: counting a million photos takes seconds, and a page is reloaded often."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from tagger.query import PhotoQuery

T = TypeVar("T")

COST_FACTOR = 20.0
"""A count stays fresh for this many times its duration, so that counting takes at most 5 % of the time."""
MOST_QUERIES = 100


class QueryCounts(Generic[T]):
    """Results of `count` by query. Created once per server."""

    def __init__(self, count: Callable[[PhotoQuery], T]) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._fresh: OrderedDict[PhotoQuery, tuple[float, T]] = OrderedDict()

    def get(self, query: PhotoQuery) -> T:
        """Return the result for the query; raises as `count`."""
        start_s = time.monotonic()
        with self._lock:
            kept = self._fresh.get(query)
        if kept is not None and start_s < kept[0]:
            return kept[1]
        result = self._count(query)
        now_s = time.monotonic()
        with self._lock:
            self._fresh[query] = now_s + COST_FACTOR * (now_s - start_s), result
            self._fresh.move_to_end(query)
            while len(self._fresh) > MOST_QUERIES:
                self._fresh.popitem(last=False)
        return result
