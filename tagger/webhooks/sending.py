"""Sends the messages that are due: in a thread of every worker for each receiver, and after the job of a command.

Any number of senders may run: each attempt is claimed first. A receiver that hangs keeps no other waiting.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from tagger.database.connection import Database
from tagger.database.retry import DatabaseError
from tagger.settings import Settings
from tagger.system.metrics import WEBHOOK_ATTEMPTS, WEBHOOK_EVENTS
from tagger.webhooks.delivery import GONE, NotDelivered, Receiver, deliver, receivers_of
from tagger.webhooks.messages import (
    Message,
    MessageCounts,
    claim_due,
    count_messages,
    remove_old_messages,
    store_delivery,
    store_failure,
)

log = logging.getLogger(__name__)

ROUND_S = 30.0
"""How long a round goes on. The next one continues."""
CHECK_S = 5.0
COUNT_S = 30.0
"""How often the metrics are updated that count events."""
STOP_S = 2.0
"""How long a worker that stops waits for attempts in progress. Another sender repeats them."""


class SenderThreads:
    """Sends what is due every CHECK_S until closed. Without receivers, there are no threads."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._closed = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._run, args=(receiver,), name=f"webhooks {receiver.name}", daemon=True
            )
            for receiver in receivers_of(settings)
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


def send_after_job(database: Database, settings: Settings) -> None:
    """Send all events that are due after the job of a command: perhaps no worker ever runs that would."""
    send_due_to_all(database, receivers_of(settings))


def send_due_to_all(database: Database, receivers: Sequence[Receiver]) -> None:
    """Send each receiver what is due, to all at the same time: one that hangs delays no other."""
    if receivers:
        with ThreadPoolExecutor(len(receivers), "webhooks") as pool:
            list(pool.map(lambda receiver: send_due(database, receiver), receivers))
        remove_old_messages(database)


def send_due(database: Database, receiver: Receiver, must_stop: Callable[[], bool] = lambda: False) -> int:
    """Send one receiver what is due, for at most ROUND_S and one more attempt; returns the number of delivered messages.

    A round ends with the first failure: the receiver is probably away, and other messages would fail as well.
    """
    delivered = 0
    until = time.monotonic() + ROUND_S
    while time.monotonic() < until and not must_stop():
        message = claim_due(database, receiver.name)
        if message is None:
            break
        if not _send(database, receiver, message):
            break
        delivered += 1
    return delivered


def _send(database: Database, receiver: Receiver, message: Message) -> bool:
    """Make one attempt and store its result. False if it failed."""
    try:
        answer = deliver(receiver, message)
    except NotDelivered as error:
        problem, is_final = str(error), False
    else:
        if answer.is_accepted:
            store_delivery(database, message)
            WEBHOOK_ATTEMPTS.labels(receiver.name, "delivered").inc()
            return True
        problem, is_final = answer.problem, answer.status == GONE
    log.warning(
        "The receiver %s at %s did not take %s: %s", receiver.name, receiver.address, message.event, problem
    )
    store_failure(database, message, problem, final=is_final)
    WEBHOOK_ATTEMPTS.labels(receiver.name, "failed").inc()
    return False
