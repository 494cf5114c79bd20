"""Cursors: positions in a scan as opaque texts for addresses. One is of one query, and is not trusted."""

import base64
import binascii
import json
from dataclasses import replace
from datetime import datetime
from hashlib import blake2b
from typing import Any

from tagger.errors import CursorInvalid
from tagger.query.find import ScanPosition
from tagger.query.options import PhotoQuery
from tagger.query.sorted_scan import is_id

# Longer cursors are refused. A cursor contains a path if photos are sorted by name.
MOST_CHARACTERS = 20_000


def encode_cursor(position: ScanPosition, query: PhotoQuery) -> str:
    """The cursor that `decode_cursor` accepts for the same query."""
    key = None if position.after is None else [_encode_part(part) for part in position.after]
    document = [_query_digest(query), position.scan, key]
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


def decode_cursor(cursor: str, query: PhotoQuery) -> ScanPosition:
    """The position in a cursor.

    Raises:
        CursorInvalid: the text is not a cursor, or is one of another query.
    """
    if len(cursor) > MOST_CHARACTERS:
        raise CursorInvalid
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        query_digest, scan, key = json.loads(text)
        after = None if key is None else tuple(_decode_part(part) for part in key)
    except (binascii.Error, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise CursorInvalid from None
    if query_digest != _query_digest(query) or not is_id(scan):
        raise CursorInvalid
    return ScanPosition(scan, after)


def _encode_part(part: Any) -> object:
    if isinstance(part, datetime):
        return {"time": part.isoformat()}
    return {"bytes": part.hex()} if isinstance(part, bytes) else part


def _decode_part(part: Any) -> object:
    if isinstance(part, dict):
        return (
            bytes.fromhex(part["bytes"])
            if "bytes" in part
            else datetime.fromisoformat(part["time"])
        )
    if isinstance(part, str):
        part.encode()  # raises for a lone surrogate, which the database would refuse
        if "\0" in part:
            raise ValueError("a path contains no NUL")
    return part


def _query_digest(query: PhotoQuery) -> str:
    return blake2b(
        repr(replace(query, limit=None)).encode(errors="surrogatepass"), digest_size=6
    ).hexdigest()
