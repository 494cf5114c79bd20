"""Keeps the leases of the chunks in hand, in a thread of its own. Knows nothing of what is done with them."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from tagger.database import Database
from tagger.ledger.chunks import Claim, renew
from tagger.ledger.jobs import RENEW_S

log = logging.getLogger(__name__)


class LeaseKeeper:
    """Renews the leases of the chunks in hand, in a thread of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._held: dict[str, tuple[Claim, threading.Event]] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="leases", daemon=True)
        self._thread.start()

    @contextmanager
    def keeping(self, claimed: Claim) -> Iterator[threading.Event]:
        """Hold a lease; the event is set if it was lost."""
        lost = threading.Event()
        with self._lock:
            self._held[claimed.token] = (claimed, lost)
        try:
            yield lost
        finally:
            with self._lock:
                del self._held[claimed.token]

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _keep(self) -> None:
        while not self._closed.wait(RENEW_S):
            with self._lock:
                held = dict(self._held)
            try:
                for claimed in (
                    renew(self._database, [claimed for claimed, _ in held.values()]) if held else ()
                ):
                    held[claimed.token][1].set()
            except SQLAlchemyError as error:
                log.warning("leases could not be renewed: %s", error)
