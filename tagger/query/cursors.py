"""Positions as text that travels through addresses: opaque, bound to the query it came from, and trusted in nothing."""

import base64
import binascii
import json
from dataclasses import replace
from datetime import datetime
from hashlib import blake2b
from typing import Any

from tagger.errors import CursorInvalid
from tagger.query.find import Position
from tagger.query.wanted import PhotoQuery

LONGEST = 20_000
"""A path is in it, where a query goes along paths; so much of the text is looked at."""


def cursor_of(position: Position, query: PhotoQuery) -> str:
    """The text that `position_of` takes."""
    key = None if position.after is None else [_part(part) for part in position.after]
    document = [_mark(query), position.choice, position.walk, key]
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


def position_of(cursor: str, query: PhotoQuery) -> Position:
    """The position that a cursor stands for.

    Raises:
        CursorInvalid: it is no cursor, or one of another query.
    """
    if len(cursor) > LONGEST:
        raise CursorInvalid
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        mark, choice, walk, key = json.loads(text)
        after = None if key is None else tuple(_from_part(part) for part in key)
    except (binascii.Error, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise CursorInvalid from None
    if mark != _mark(query) or not (_counts(choice) and _counts(walk)):
        raise CursorInvalid
    return Position(choice, walk, after)


def _part(part: Any) -> object:
    if isinstance(part, datetime):
        return {"time": part.isoformat()}
    return {"bytes": part.hex()} if isinstance(part, bytes) else part


def _from_part(part: Any) -> object:
    if isinstance(part, dict):
        return bytes.fromhex(part["bytes"]) if "bytes" in part else datetime.fromisoformat(part["time"])
    if isinstance(part, str):
        part.encode()  # half a character would be the database's to refuse
        if "\0" in part:
            raise ValueError("no path holds that")
    return part


def _mark(query: PhotoQuery) -> str:
    return blake2b(repr(replace(query, limit=None)).encode(errors="surrogatepass"), digest_size=6).hexdigest()


def _counts(number: object) -> bool:
    return type(number) is int and 0 <= number < 2**31
