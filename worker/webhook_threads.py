"""Sends webhooks. Every worker has a thread for each receiver, so that a receiver that hangs delays no other."""

import logging
import threading
import time
from collections.abc import Iterable

from tagger.database.connection import Database
from tagger.database.retry import DatabaseError
from tagger.system.metrics import WEBHOOK_EVENTS
from tagger.webhooks.delivery import Receiver, send_due
from tagger.webhooks.messages import MessageCounts, count_messages

log = logging.getLogger(__name__)

CHECK_S = 5.0
COUNT_S = 30.0
"""How often the metrics of events are updated."""
STOP_S = 2.0
"""How long a worker that stops waits for attempts in progress. Another sender repeats them."""


class WebhookThreads:
    """Sends what is due every CHECK_S until closed. Without receivers, there are no threads."""

    def __init__(self, database: Database, receivers: Iterable[Receiver]) -> None:
        self._database = database
        self._closed = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._run, args=(receiver,), name=f"webhooks {receiver.name}", daemon=True
            )
            for receiver in receivers
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._closed.set()
        until = time.monotonic() + STOP_S
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, until - time.monotonic()))

    def _run(self, receiver: Receiver) -> None:
        count_at = time.monotonic()
        while not self._closed.wait(CHECK_S):
            try:
                send_due(self._database, receiver, self._closed.is_set)
                if time.monotonic() >= count_at:
                    count_at = time.monotonic() + COUNT_S
                    self._count(receiver)
            except DatabaseError as error:
                log.info("Webhooks wait for the database: %s", error)
            except Exception:
                # The thread goes on: nothing else sends them.
                log.exception("Sending webhooks failed unexpectedly")

    def _count(self, receiver: Receiver) -> None:
        """Update the metrics: each worker counts the same events."""
        counts = count_messages(self._database).get(receiver.name, MessageCounts())
        WEBHOOK_EVENTS.labels(receiver.name, "pending").set(counts.pending)
        WEBHOOK_EVENTS.labels(receiver.name, "given_up").set(counts.given_up)
