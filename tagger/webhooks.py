"""Webhooks: deliver the messages of events that are due, each as a signed request, within limits.

The signature is that of Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA256 over id, time and body. Redirects are not
followed: only the server that the operator named gets the message. Any number of senders may run: each attempt is claimed first. A
receiver that hangs does not delay others.
"""

import base64
import hashlib
import hmac
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from tagger.database.connection import Database
from tagger.database.events import (
    Message,
    MessageCounts,
    claim_due,
    count_messages,
    remove_old_messages,
    store_delivery,
    store_failure,
)
from tagger.database.retry import DatabaseError
from tagger.extensions import Event
from tagger.settings import Settings
from tagger.system.http_exchange import NoAnswer, exchange
from tagger.system.metrics import WEBHOOK_ATTEMPTS, WEBHOOK_EVENTS

TIMEOUT_S = 15.0
"""For a whole attempt, however slowly the receiver answers."""
MAX_ANSWER_BYTES = 4096
GONE = 410
"""The receiver wants no more messages."""
TEST = "test"
"""The type of a message that is no event, but tries a receiver."""


@dataclass(frozen=True)
class Receiver:
    """Where messages go. `web_url`: the address of the page, for links."""

    name: str
    url: str
    secret: str
    web_url: str

    @property
    def address(self) -> str:
        """The address without user, password and path, which can be secrets."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


@dataclass(frozen=True)
class ReceiverResponse:
    """What the receiver answered: the status, and the beginning of its text."""

    status: int
    text: str

    @property
    def is_accepted(self) -> bool:
        return 200 <= self.status < 300

    @property
    def problem(self) -> str:
        """Why the message is not accepted, in words."""
        if 300 <= self.status < 400:
            return f"it answered with {self.status}, and redirects are not followed"
        return f"it answered with {self.status}"


def receivers_of(settings: Settings) -> list[Receiver]:
    """The receivers that the settings name."""
    return [
        Receiver(name, receiver.url, receiver.secret, settings.web_url or "")
        for name, receiver in settings.webhooks.items()
    ]


def deliver(receiver: Receiver, message: Message) -> ReceiverResponse:
    """Send the message once.

    Raises:
        NoAnswer: there was no answer within TIMEOUT_S, or none that is HTTP.
    """
    body = _body(receiver, message)
    headers = _headers(urlsplit(receiver.url)) | signature_headers(
        receiver.secret, message.id, body, int(time.time())
    )
    answer = exchange(
        "POST", receiver.url, headers=headers, body=body, timeout_s=TIMEOUT_S, max_bytes=MAX_ANSWER_BYTES
    )
    return ReceiverResponse(answer.status, answer.body.decode(errors="replace"))


def signature_headers(secret: str, message_id: str, body: bytes, at: int) -> dict[str, str]:
    """The headers of Standard Webhooks for a message that is sent at this time."""
    signed = f"{message_id}.{at}.".encode() + body
    digest = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), signed, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


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
    """Send all events that are due after the job of a command: perhaps no worker ever runs to send them."""
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
        if message is None or not _send(database, receiver, message):
            break
        delivered += 1
    return delivered


def _headers(address: SplitResult) -> dict[str, str]:
    headers = {"content-type": "application/json"}
    if address.username is not None:
        user = f"{unquote(address.username)}:{unquote(address.password or '')}"
        headers["authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    return headers


def _body(receiver: Receiver, message: Message) -> bytes:
    document = {
        "id": message.id,
        "type": message.event,
        "timestamp": message.at.isoformat(),
        "data": message.data,
        "links": {name: receiver.web_url + path for name, path in _links(message).items()},
    }
    return json.dumps(document).encode()


def _links(message: Message) -> Mapping[str, str]:
    data = message.data
    match message.event:
        case Event.JOB_FINISHED | Event.JOB_FAILURES:
            return {"job": f"/jobs/{data['job']}"}
        case Event.LANDMARK_FOUND:
            return {"landmark": f"/landmarks/{data['landmark']}"}
    return {"jobs": "/jobs"}


def _send(database: Database, receiver: Receiver, message: Message) -> bool:
    """Make one attempt and store its result. False if it failed."""
    try:
        answer = deliver(receiver, message)
    except NoAnswer as error:
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
