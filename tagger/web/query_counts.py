"""What was counted for queries, kept for a while: counting a million photos takes seconds, and a page is reloaded often."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from tagger.library.query.options import PhotoQuery

T = TypeVar("T")

COST_FACTOR = 20.0
"""A count stays fresh for this many times its duration, so that counting takes at most 5 % of the time."""
MOST_QUERIES = 100


class QueryCounts(Generic[T]):
    """Results of `count` by query. Created once per server."""

    def __init__(
        self,
        count: Callable[[PhotoQuery], T],
        is_quick: Callable[[PhotoQuery], bool] = lambda _query: False,
    ) -> None:
        """`is_quick`: the database keeps what `count` returns for this query. It is not kept here, too."""
        self._count = count
        self._is_quick = is_quick
        self._lock = threading.Lock()
        self._fresh: OrderedDict[PhotoQuery, tuple[float, T]] = OrderedDict()
        self._running: dict[PhotoQuery, Future[T]] = {}

    def get(self, query: PhotoQuery) -> T:
        """Return the result for the query; raises as `count`. Callers that come while it is being counted wait for that result."""
        with self._lock:
            kept = self._fresh.get(query)
            if kept is not None and time.monotonic() < kept[0]:
                return kept[1]
            running = self._running.get(query)
            if running is None:
                own = self._running[query] = Future()
        if running is not None:
            return running.result()
        try:
            result = self._counted(query)
        except BaseException as error:
            self._end(query)
            own.set_exception(error)
            raise
        self._end(query)
        own.set_result(result)
        return result

    def _counted(self, query: PhotoQuery) -> T:
        start_s = time.monotonic()
        result = self._count(query)
        now_s = time.monotonic()
        if self._is_quick(query):
            return result
        with self._lock:
            self._fresh[query] = now_s + COST_FACTOR * (now_s - start_s), result
            self._fresh.move_to_end(query)
            while len(self._fresh) > MOST_QUERIES:
                self._fresh.popitem(last=False)
        return result

    def _end(self, query: PhotoQuery) -> None:
        with self._lock:
            del self._running[query]
