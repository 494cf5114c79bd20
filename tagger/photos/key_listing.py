"""Lists pages of a bucket with the exact keys of its objects.

obstore cannot list a page with a key like `a//b.jpg`, and drops slashes at both ends of keys. Such pages of S3 are requested without
obstore (see signed_requests).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_plus
from xml.etree import ElementTree as ET

from tagger.photos.object_errors import error_text, is_invalid_key, store_errors
from tagger.photos.object_store import STALL_TIMEOUT, can_sign, open_store
from tagger.photos.paths import ObjectPath
from tagger.photos.signed_requests import ask_bucket_once

if TYPE_CHECKING:
    from obstore import ObjectMeta

PAGE = 1000
_MOST_BYTES = 32 * 2**20
"""The limit of an answer: more than a thousand keys of 1,024 bytes need, even if every byte is encoded."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_IN_ORDER = "the server does not list its keys in order, which a scan needs"


class UnlistedKey(Exception):
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
    last = after
    try:
        for page in open_store(prefix, patient=patient).list(
            prefix.key or None, offset=after or None, chunk_size=PAGE
        ):
            for meta in page:
                # The empty object that stands for a folder is listed without the slash at its end.
                if meta["path"] <= last and meta["size"]:
                    raise UnlistedKey(_NOT_IN_ORDER)
                last = max(last, meta["path"])
            yield page
    except store_errors() as error:
        if is_invalid_key(error):
            raise UnlistedKey(error_text(error)) from None
        raise


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
        page, is_last = _page(_answer(prefix, parameters | {"start-after": after}, patient=patient))
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


def _answer(prefix: ObjectPath, parameters: Mapping[str, str], *, patient: bool) -> bytes:
    named = {"list-type": "2", "encoding-type": "url"} | {
        name: value for name, value in parameters.items() if value
    }
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in named.items())
    timeout_s = STALL_TIMEOUT.total_seconds() / (1 if patient else 2)
    return ask_bucket_once(prefix, f"{query}&delimiter", _MOST_BYTES, timeout_s)


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
