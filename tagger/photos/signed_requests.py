"""Requests to S3 that obstore does not offer: pages with odd keys, deletion under a condition, questions about a bucket.

obstore signs their addresses with the same credentials as all other requests. While a signed address is valid, it gives the same access
as the credentials, so it is never shown in a message or sent to another server.
"""

import os
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from functools import lru_cache
from http.client import HTTPException
from typing import IO, TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from tagger.photos import object_store
from tagger.photos.object_store import STALL_TIMEOUT, signed_address, signed_bucket_address
from tagger.photos.paths import ObjectPath

if TYPE_CHECKING:
    from obstore import HTTP_METHOD

_MOST_BYTES = 1 << 16
"""The limit of an answer. Those that are read are short."""
_MOMENTARY = (429, 500, 502, 503, 504)
"""The statuses of temporary refusals, such as `503 SlowDown`."""


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
    return _send(signed_address(path, method), method, headers or {})


def ask_bucket(path: ObjectPath, query: str) -> Answer:
    """Ask for a setting of the object's bucket, like `versioning`.

    Raises:
        store_errors(): as `send_signed`.
    """
    return _send(signed_bucket_address(path, query), "GET", {})


def ask_bucket_once(path: ObjectPath, query: str, most_bytes: int, timeout_s: float) -> bytes:
    """The body of a bucket's answer. The question is not repeated.

    Raises:
        store_errors(): as `send_signed`.
    """
    address = signed_bucket_address(path, query)
    try:
        return _answer(address, "GET", {}, most_bytes, timeout_s).body
    except _Refused as error:
        raise OSError(str(error)) from None


class _Refused(Exception):
    """The server answered with an error: status code: {status} {body}."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"status code: {status} {body}")
        self.status = status


def _send(address: str, method: str, headers: Mapping[str, str]) -> Answer:
    for attempt in range(object_store.ATTEMPTS):
        if attempt:
            time.sleep(object_store.RETRY_PAUSE_S * 2 ** (attempt - 1))
        try:
            return _answer(address, method, headers, _MOST_BYTES, STALL_TIMEOUT.total_seconds())
        except _Refused as error:
            problem = OSError(str(error))
            if error.status not in _MOMENTARY:
                break
    raise problem


def _answer(
    address: str, method: str, headers: Mapping[str, str], most_bytes: int, timeout_s: float
) -> Answer:
    context = _tls_context(os.environ.get("AWS_CA_BUNDLE") or None)
    opener = build_opener(_NoRedirects, HTTPSHandler(context=context))
    request = Request(address, method=method, headers={"User-Agent": "landmark-tagger", **headers})  # noqa: S310 - the endpoint is the operator's
    try:
        with opener.open(request, timeout=timeout_s) as answer:
            lower = {name.lower(): value for name, value in answer.headers.items()}
            return Answer(lower, answer.read(most_bytes))
    except HTTPError as error:
        raise _Refused(error.code, _body(error)) from None
    except (HTTPException, OSError) as error:
        raise OSError(f"the server does not answer ({type(error).__name__})") from None


def _body(error: HTTPError) -> str:
    """The server's explanation of its refusal; empty if the connection ends first."""
    with error, suppress(HTTPException, OSError):
        return error.read(_MOST_BYTES).decode(errors="replace")
    return ""


@lru_cache(maxsize=4)
def _tls_context(bundle: str | None) -> ssl.SSLContext:
    """Reading the certificates takes longer than listing a page."""
    return ssl.create_default_context(cafile=bundle)


class _NoRedirects(HTTPRedirectHandler):
    """The signature is for one server."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        pass
