"""Counting attempts in this process, by client address, token or person."""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

MAX_ATTEMPTS = 5
"""Wrong tokens from one address within `ATTEMPT_WINDOW_S`; further attempts are refused for that time."""
ATTEMPT_WINDOW_S = 60
MAX_KEYS = 10_000


class TooManyAttempts(Exception):
    """Too many wrong tokens came from this address. Try again in a minute."""

    retry_after_s = ATTEMPT_WINDOW_S

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class AttemptLimiter:
    """Counts attempts by key within a time, such as wrong tokens by client address.

    `error` is raised if a key has used up its `most` attempts.
    """

    def __init__(
        self,
        most: int = MAX_ATTEMPTS,
        window_s: float = ATTEMPT_WINDOW_S,
        error: type[TooManyAttempts] = TooManyAttempts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most
        self._window_s = window_s
        self._error = error
        self._clock = clock
        self._lock = threading.Lock()
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, key: str) -> None:
        """Raises:
        TooManyAttempts: the key has used up its attempts.
        """
        with self._lock:
            times = self._times.get(key, deque())
            while times and times[0] < self._clock() - self._window_s:
                times.popleft()
            if len(times) >= self._most:
                raise self._error

    def record(self, key: str) -> None:
        """Count an attempt."""
        with self._lock:
            self._times.setdefault(key, deque(maxlen=self._most)).append(self._clock())
            self._times.move_to_end(key)
            while len(self._times) > MAX_KEYS:
                self._times.popitem(last=False)
