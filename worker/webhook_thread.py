"""Sends webhooks: a thread of every worker. A receiver that hangs keeps nothing else waiting."""

import logging
import threading
import time

from tagger.database.connection import Database
from tagger.database.errors import DatabaseError
from tagger.metrics import WEBHOOK_EVENTS
from tagger.webhooks.delivery import Receiver
from tagger.webhooks.messages import count_messages
from tagger.webhooks.sending import send_due

log = logging.getLogger(__name__)

CHECK_S = 5.0
COUNT_S = 30.0
"""How often the metrics are updated that count events."""
STOP_S = 2.0
"""How long a worker that stops waits for an attempt in progress. Another sender repeats it."""


class WebhookThread:
    """Sends what is due every CHECK_S until closed. Without a receiver, it does not start."""

    def __init__(self, database: Database, receiver: Receiver | None) -> None:
        self._database = database
        self._receiver = receiver
        self._count_at = time.monotonic()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def start(self) -> None:
        if self._receiver is not None:
            self._thread.start()

    def close(self) -> None:
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_S)

    def _run(self) -> None:
        while self._receiver is not None and not self._closed.wait(CHECK_S):
            try:
                send_due(self._database, self._receiver, self._closed.is_set)
                self._count()
            except DatabaseError as error:
                log.info("Webhooks wait for the database: %s", error)
            except Exception:
                # The thread goes on: nothing else sends them.
                log.exception("Sending webhooks failed unexpectedly")

    def _count(self) -> None:
        """Update the metrics, now and then: each worker counts the same events."""
        if time.monotonic() < self._count_at:
            return
        self._count_at = time.monotonic() + COUNT_S
        counts = count_messages(self._database)
        WEBHOOK_EVENTS.labels("pending").set(counts.pending)
        WEBHOOK_EVENTS.labels("given_up").set(counts.given_up)
