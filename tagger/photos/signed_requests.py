"""Requests to S3 that obstore does not offer: pages with odd keys, deletion under a condition, questions about a bucket.

obstore cannot list a page with a key like `a//b.jpg`, and drops slashes at both ends of keys; pages have the exact keys here. It signs
the addresses with the same credentials as all other requests. While a signed address is valid, it gives the same access as the
credentials, so it is never shown in a message or sent to another server.
"""

import os
import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from email.message import Message
from functools import lru_cache
from http.client import HTTPException
from typing import IO, TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import quote, unquote_plus
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener
from xml.etree import ElementTree as ET

from tagger.errors import PicklableError
from tagger.photos.object_store import (
    STALL_TIMEOUT,
    can_sign,
    error_text,
    open_store,
    repeated,
    signed_address,
    signed_bucket_address,
    store_errors,
)
from tagger.photos.paths import ObjectPath

if TYPE_CHECKING:
    from obstore import HTTP_METHOD, ObjectMeta

_MOST_BYTES = 1 << 16
"""The limit of an answer. Those that are read are short."""
_MOMENTARY = (429, 500, 502, 503, 504)
"""The statuses of temporary refusals, such as `503 SlowDown`."""


@dataclass(frozen=True)
class BucketResponse:
    """The answer of a server. The names of its headers are in lower case."""

    headers: Mapping[str, str]
    body: bytes


def send_signed(
    path: ObjectPath, method: "HTTP_METHOD", headers: Mapping[str, str] | None = None
) -> BucketResponse:
    """Send a request about an object.

    Raises:
        store_errors(): the server refuses, with status and code in the text as in those of obstore, or does not answer.
    """
    return _send(signed_address(path, method), method, headers or {})


def ask_bucket(path: ObjectPath, query: str) -> BucketResponse:
    """Ask for a setting of the object's bucket, like `versioning`.

    Raises:
        store_errors(): as `send_signed`.
    """
    return _send(signed_bucket_address(path, query), "GET", {})


class _Refused(PicklableError, OSError):
    """The server answered with an error: status code: {status} {body}."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"status code: {status} {body}")
        self.status = status


def is_momentary(error: Exception) -> bool:
    """Whether a server refused a request of this module temporarily. obstore repeats its own."""
    return isinstance(error, _Refused) and error.status in _MOMENTARY


def _send(address: str, method: str, headers: Mapping[str, str]) -> BucketResponse:
    timeout_s = STALL_TIMEOUT.total_seconds()
    return repeated(lambda: _answer(address, method, headers, _MOST_BYTES, timeout_s), is_momentary)


def _answer(
    address: str, method: str, headers: Mapping[str, str], most_bytes: int, timeout_s: float
) -> BucketResponse:
    context = _tls_context(os.environ.get("AWS_CA_BUNDLE") or None)
    opener = build_opener(_NoRedirects, HTTPSHandler(context=context))
    request = Request(address, method=method, headers={"User-Agent": "landmark-tagger", **headers})  # noqa: S310 - the endpoint is the operator's
    try:
        with opener.open(request, timeout=timeout_s) as answer:
            lower = {name.lower(): value for name, value in answer.headers.items()}
            return BucketResponse(lower, answer.read(most_bytes))
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
    """Cached, because reading the certificates takes longer than listing a page."""
    return ssl.create_default_context(cafile=bundle)


class _NoRedirects(HTTPRedirectHandler):
    """Follows no redirect, because the signature is for one server."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        pass


PAGE = 1000
_MOST_BYTES_OF_PAGE = 32 * 2**20
"""The limit of an answer: more than a thousand keys of 1,024 bytes need, even if every byte is encoded."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_IN_ORDER = "the server does not list its keys in order, which a scan needs"


class UnlistedKey(PicklableError):
    """A page has a key that cannot be listed as it is: {reason}."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def key_problem(key: str) -> str | None:
    """Why an object cannot be read by its key; None if it can."""
    parts = key.split("/")
    if "" in parts:
        return "its key begins or ends with a slash, or has an empty part (//)"
    if "." in parts or ".." in parts:
        return "a part of its key is . or .."
    return "its key has a control character" if _CONTROL.search(key) else None


def plain_pages(prefix: ObjectPath, after: str, *, patient: bool) -> Iterator[Sequence["ObjectMeta"]]:
    """List the objects after a key, page by page, with keys as obstore shows them.

    Raises:
        UnlistedKey: obstore cannot show a key, or keys without their slashes seem to be out of order.
        store_errors(): the server refuses, or does not answer.
    """
    store = open_store(prefix, patient=patient)
    from obstore.exceptions import InvalidPathError

    last = after
    try:
        for page in store.list(prefix.key or None, offset=after or None, chunk_size=PAGE):
            for meta in page:
                # The empty object that stands for a folder is listed without the slash at its end.
                if meta["path"] <= last and meta["size"]:
                    raise UnlistedKey(_NOT_IN_ORDER)
                last = max(last, meta["path"])
            yield page
    except InvalidPathError as error:
        raise UnlistedKey(error_text(error)) from None


def exact_pages(
    prefix: ObjectPath, after: str, *, patient: bool, text: str | None = None
) -> Iterator[Sequence["ObjectMeta"]]:
    """List the objects after a key, page by page, with their exact keys. `text`: what the keys begin with; None: the prefix.

    Raises:
        UnlistedKey: they are not in order.
        store_errors(): the server refuses, or does not answer.
    """
    parameters = {"prefix": text or f"{prefix.key}/".lstrip("/")}
    is_last = False
    while not is_last:
        page, is_last = _page(_listed(prefix, parameters | {"start-after": after}, patient=patient))
        for meta in page:
            if meta["path"] <= after:
                raise UnlistedKey(_NOT_IN_ORDER)
            after = meta["path"]
        if page:
            yield page


def begins_with_slashes(prefix: ObjectPath) -> bool:
    """Whether a bucket has keys that begin with a slash. obstore drops the slash, so they would look like other objects."""
    if prefix.key or not can_sign(prefix):
        return False
    with suppress(*store_errors()):
        return any(exact_pages(prefix, "", patient=False, text="/"))
    return False


def _listed(prefix: ObjectPath, parameters: Mapping[str, str], *, patient: bool) -> bytes:
    named = {"list-type": "2", "encoding-type": "url"} | {
        name: value for name, value in parameters.items() if value
    }
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in named.items())
    timeout_s = STALL_TIMEOUT.total_seconds() / (1 if patient else 2)
    address = signed_bucket_address(prefix, f"{query}&delimiter")
    return _answer(address, "GET", {}, _MOST_BYTES_OF_PAGE, timeout_s).body  # not repeated


def _page(answer: bytes) -> tuple[list["ObjectMeta"], bool]:
    """The objects in an answer, and whether it is the last."""
    try:
        root = ET.fromstring(answer)  # noqa: S314 - expat limits entities; the server is the operator's
    except ET.ParseError as error:
        raise OSError("the server's answer is not XML") from error
    fields = [
        {_name(field): field.text or "" for field in entry} for entry in root if _name(entry) == "Contents"
    ]
    texts = {_name(entry): entry.text or "" for entry in root}
    is_encoded = texts.get("EncodingType") == "url"
    return [_object(entry, is_encoded=is_encoded) for entry in fields], texts.get("IsTruncated") != "true"


def _object(fields: Mapping[str, str], *, is_encoded: bool) -> "ObjectMeta":
    key = fields["Key"]
    return {
        "path": unquote_plus(key) if is_encoded else key,
        "last_modified": datetime.fromisoformat(fields["LastModified"]),
        "size": int(fields["Size"]),
        "e_tag": fields.get("ETag"),
        "version": None,
    }


def _name(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]
