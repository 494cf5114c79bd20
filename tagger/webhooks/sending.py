"""Sends the messages that are due. Any number of senders may run: each attempt is claimed first."""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from tagger.database.connection import Database
from tagger.system.metrics import WEBHOOK_ATTEMPTS
from tagger.webhooks.delivery import GONE, NotDelivered, Receiver, deliver
from tagger.webhooks.messages import Message, claim_due, remove_old_messages, store_delivery, store_failure

log = logging.getLogger(__name__)

ROUND_S = 30.0
"""How long a round goes on. The next one continues."""


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
