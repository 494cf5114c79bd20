"""Who may work at the same time: chunks share a process, but for one whose photos are gone through one by one.

If the process dies, it must be plain whose photo was in hand.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

TURN_S = 30.0
"""How long a chunk waits for its turn. Two may wait for each other: one for the other's end, that one for its photos."""
_CHECK_S = 0.5


class Turns:
    """One process's; a chunk that waits looks whether it has to stop."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._changed = threading.Condition()
        self._sharing = 0
        self._alone = False
        self._wanting_alone = 0

    @contextmanager
    def taken(self, *, alone: bool) -> Iterator[bool]:
        """Whether it is the caller's turn, which it keeps until the end; False where the turn did not come."""
        got = self._take(alone=alone)
        try:
            yield got
        finally:
            if got:
                self._give_back(alone=alone)

    def _take(self, *, alone: bool) -> bool:
        until = time.monotonic() + TURN_S
        with self._changed:
            self._wanting_alone += alone
            try:
                while self._is_taken(alone=alone):
                    if self._stop.is_set() or time.monotonic() > until:
                        return False
                    self._changed.wait(_CHECK_S)
            finally:
                self._wanting_alone -= alone
            self._alone = alone
            self._sharing += not alone
            return True

    def _is_taken(self, *, alone: bool) -> bool:
        return self._alone or bool(self._sharing if alone else self._wanting_alone)

    def _give_back(self, *, alone: bool) -> None:
        with self._changed:
            self._alone = False
            self._sharing -= not alone
            self._changed.notify_all()
