"""Renews the leases of the chunks that this process has claimed. Knows nothing of how chunks are processed."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from tagger.database.connection import Database
from tagger.database.retry import reason_of
from tagger.ledger.chunks import Claim, renew_leases
from tagger.ledger.ownership import RENEW_S, RETRY_S

log = logging.getLogger(__name__)


class LeaseRenewer:
    """Renews leases every RENEW_S in a thread of its own; after an error, every RETRY_S."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._leases: dict[str, tuple[Claim, threading.Event]] = {}
        """By token: the claim, and the event that tells its holder that the lease was lost."""
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
        self._thread.start()

    @contextmanager
    def hold(self, claim: Claim) -> Iterator[threading.Event]:
        """Renew the claim's lease inside the context; the event is set if the lease is lost."""
        lost = threading.Event()
        with self._lock:
            self._leases[claim.token] = (claim, lost)
        try:
            yield lost
        finally:
            with self._lock:
                del self._leases[claim.token]

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        pause_s = RENEW_S
        while not self._closed.wait(pause_s):
            try:
                self._renew()
            except Exception as error:
                # The thread goes on: without renewals, other workers take over the chunks.
                if pause_s == RENEW_S:
                    log.warning(
                        "The leases could not be renewed; trying again: %s",
                        reason_of(error) if isinstance(error, SQLAlchemyError) else error,
                        exc_info=not isinstance(error, SQLAlchemyError),
                    )
                pause_s = RETRY_S
            else:
                pause_s = RENEW_S

    def _renew(self) -> None:
        with self._lock:
            leases = dict(self._leases)
        if leases:
            for claim in renew_leases(self._database, [claim for claim, _ in leases.values()]):
                leases[claim.token][1].set()
