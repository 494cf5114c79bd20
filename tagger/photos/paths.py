"""Paths as text and as JSON, for SQL to store and sort, without losing names that are not UTF-8."""

import os
from pathlib import Path

from tagger.errors import ObjectAddressInvalid
from tagger.photos.object_paths import parse_path


def path_text(path: str | Path) -> tuple[str, bytes]:
    """The path as text, and its bytes if they are not UTF-8 (the text is then for display only); else no bytes."""
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        raw = os.fsencode(text)
        return raw.decode(errors="backslashreplace"), raw
    return text, b""


def path_from_text(text: str, raw: bytes) -> str:
    """The path from which `path_text` made these."""
    return os.fsdecode(raw) if raw else text


def path_to_json(path: str | Path) -> str | dict[str, str]:
    """The path as a JSON value: its text; if it is not UTF-8, `{"text": …, "bytes": …}` with all its bytes in hexadecimal."""
    text, raw = path_text(path)
    return {"text": text, "bytes": raw.hex()} if raw else text


def path_from_json(value: object) -> Path:
    """The path from which `path_to_json` made `value`.

    Raises:
        ValueError: `path_to_json` makes no such value.
    """
    match value:
        case str():
            path = value
        case {"text": str(), "bytes": str(raw), **others} if not others:
            path = os.fsdecode(bytes.fromhex(raw))
        case _:
            raise ValueError("it is not a path")
    if "\0" in path:
        raise ValueError("a path has no null character")
    try:
        return parse_path(path)
    except ObjectAddressInvalid as error:
        raise ValueError(str(error)) from None


def printable_path(path: str | Path) -> str:
    """The path on one line of text: control characters and bytes that are not UTF-8 are written as escapes."""
    text, _ = path_text(path)
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
