"""Requests to S3 that obstore does not offer: deletion under a condition, and questions about a bucket.

obstore signs their addresses with the same credentials as all other requests. An address is as good as the credentials for
as long as it is valid, so none is ever part of a message.
"""

import os
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

from tagger.photos import objects
from tagger.photos.object_paths import ObjectPath
from tagger.photos.object_store import STALL_TIMEOUT, signed_address, signed_bucket_address

if TYPE_CHECKING:
    from obstore import HTTP_METHOD

_VALID = timedelta(minutes=5)
_MOST_BYTES = 1 << 16
"""The answers that are of interest are short."""
_MOMENTARY = (429, 500, 502, 503, 504)
"""What servers answer for a moment, such as `503 SlowDown`."""


@dataclass(frozen=True)
class Answer:
    """The answer of a server. The names of its headers are in lower case."""

    headers: Mapping[str, str]
    body: bytes


def send_signed(path: ObjectPath, method: "HTTP_METHOD", headers: Mapping[str, str] | None = None) -> Answer:
    """Send a request about an object.

    Raises:
        store_errors(): the server refuses, with status and code in the text as in those of obstore, or does not answer.
    """
    return _send(signed_address(path, method, _VALID), method, headers or {})


def ask_bucket(path: ObjectPath, query: str) -> Answer:
    """Ask for a setting of the object's bucket, like `versioning`.

    Raises:
        store_errors(): as `send_signed`.
    """
    return _send(signed_bucket_address(path, query, _VALID), "GET", {})


def _send(address: str, method: str, headers: Mapping[str, str]) -> Answer:
    bundle = os.environ.get("AWS_CA_BUNDLE") or None
    opener = build_opener(ProxyHandler(), HTTPSHandler(context=ssl.create_default_context(cafile=bundle)))
    request = Request(address, method=method, headers=dict(headers))  # noqa: S310 - the endpoint is the operator's
    for attempt in range(objects.ATTEMPTS):
        if attempt:
            time.sleep(objects.RETRY_PAUSE_S * 2 ** (attempt - 1))
        try:
            with opener.open(request, timeout=STALL_TIMEOUT.total_seconds()) as answer:
                lower = {name.lower(): value for name, value in answer.headers.items()}
                return Answer(lower, answer.read(_MOST_BYTES))
        except HTTPError as error:
            with error:
                body = error.read(_MOST_BYTES).decode(errors="replace")
            problem = OSError(f"status code: {error.code} {body}")
            if error.code not in _MOMENTARY:
                break
        except (HTTPException, OSError) as error:
            raise OSError(f"the server does not answer ({type(error).__name__})") from None
    raise problem
