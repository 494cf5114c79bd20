"""Paths as text, which SQL keeps and sorts, without losing names that are not UTF-8."""

import os
from pathlib import Path


def path_text(path: str | Path) -> tuple[str, bytes]:
    """The path as text, and its bytes if they are not UTF-8 (then the text is only for people); else no bytes."""
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        raw = os.fsencode(text)
        return raw.decode(errors="backslashreplace"), raw
    return text, b""


def path_from_text(text: str, raw: bytes) -> str:
    """The path that `path_text` was given."""
    return os.fsdecode(raw) if raw else text
