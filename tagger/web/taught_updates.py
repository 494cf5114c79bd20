"""Learning from verdicts that were given through the server, and counting photos again, in the background: no request waits for it."""

import logging
import threading
from collections.abc import Callable

from tagger.database.connection import Database
from tagger.database.retry import DatabaseError
from tagger.errors import TaggerError
from tagger.library.catalog.kept_counts import COUNT_S, count_changed_blocks
from tagger.library.catalog.registered_models import RegisteredModel
from tagger.library.positions.update import update_positions
from tagger.library.teaching.teaching import update_taught

log = logging.getLogger(__name__)

RETRY_S = 30.0
"""How long an update that failed waits for the next attempt, if no verdict comes."""


class _Stopping(Exception):
    """The server stops: the comparison is left to the next one."""


class TaughtUpdates:
    """One thread that brings the taught landmarks up to date. Requests that come during an update lead to one more."""

    def __init__(
        self, database: Database, model: Callable[[], RegisteredModel], stopping: threading.Event
    ) -> None:
        self._database = database
        self._model = model
        self._stopping = stopping
        self._changed = threading.Condition()
        self._is_requested = False
        self._is_closed = False
        self._has_failed = False
        self._thread: threading.Thread | None = None

    def request(self) -> None:
        """Learn from the verdicts soon. Returns at once."""
        with self._changed:
            if self._is_closed:
                return
            self._is_requested = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="taught-updates", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """End the thread. A comparison that is running ends with its page; `tagger backfill taught` continues it."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while self._take_request():
            try:
                self._update()
                self._has_failed = False
            except _Stopping:
                return
            except TaggerError as error:
                self._log_once(str(error))
            except DatabaseError as error:  # its text may hold values and addresses
                self._log_once(f"the database failed ({type(error).__name__})")
            except Exception:  # noqa: BLE001 - logged; the next attempt may succeed
                self._log_once("unexpected error", exc_info=True)

    def _take_request(self) -> bool:
        """Wait for a request, or for the time to try a failed update again; False if there will be none."""
        with self._changed:
            timeout = RETRY_S if self._has_failed else None
            self._changed.wait_for(lambda: self._is_requested or self._is_closed, timeout)
            self._is_requested = False
            return not self._is_closed

    def _update(self) -> None:
        model = self._model()
        if model.manifest.embedding is not None:
            update_taught(self._database, model, on_progress=self._check_stopping)
        update_positions(self._database, lambda count, _total: self._check_stopping(count))
        count_changed_blocks(self._database, COUNT_S)

    def _check_stopping(self, _count: int) -> None:
        if self._is_closed or self._stopping.is_set():
            raise _Stopping

    def _log_once(self, reason: str, *, exc_info: bool = False) -> None:
        """Log a failure, unless the update before failed, too."""
        if not self._has_failed:
            text = "taught landmarks were not updated; the next attempt is in %.0f s: %s"
            log.error(text, RETRY_S, reason, exc_info=exc_info)
        self._has_failed = True
