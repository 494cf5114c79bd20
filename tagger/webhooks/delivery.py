"""Delivers a message to a receiver: a signed request, within limits, and its answer.

The signature is that of Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA256 over id, time and body. Redirects are not
followed: what the operator named gets the message, and nobody else.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from tagger.events import Event
from tagger.settings import Settings
from tagger.system.http_exchange import NoAnswer, exchange
from tagger.webhooks.messages import Message

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
class Answer:
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


class NotDelivered(Exception):
    """The receiver did not answer; the text says why."""


def receivers_of(settings: Settings) -> list[Receiver]:
    """The receivers that the settings name."""
    return [
        Receiver(name, receiver.url, receiver.secret, settings.web_url or "")
        for name, receiver in settings.receivers.items()
    ]


def deliver(receiver: Receiver, message: Message) -> Answer:
    """Send the message once.

    Raises:
        NotDelivered: the host's name was not resolved or there was no answer within TIMEOUT_S, or none that is HTTP.
    """
    body = _body(receiver, message)
    headers = _headers(urlsplit(receiver.url)) | signature_headers(
        receiver.secret, message.id, body, int(time.time())
    )
    try:
        answer = exchange(
            "POST",
            receiver.url,
            headers=headers,
            body=body,
            timeout_s=TIMEOUT_S,
            max_bytes=MAX_ANSWER_BYTES,
        )
    except NoAnswer as error:
        raise NotDelivered(str(error)) from error
    return Answer(answer.status, answer.body.decode(errors="replace"))


def signature_headers(secret: str, message_id: str, body: bytes, at: int) -> dict[str, str]:
    """The headers of Standard Webhooks for a message that is sent at this time."""
    signed = f"{message_id}.{at}.".encode() + body
    digest = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), signed, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


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
