"""Verdicts in a JSON file: a list, or one document after another, read entry by entry with flat memory.

An entry that is not a verdict is refused with its number and line. Knows nothing of SQL.
"""

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Protocol

from tagger.errors import VerdictsInvalid
from tagger.library.verdicts.store import NOT_A_LANDMARK, VerdictKind

READ_CHARACTERS = 1 << 16
LARGEST_ENTRY = 1 << 20
_SEPARATOR = re.compile(r"[\s,]*")
_DIGEST = re.compile(r"\d+-[0-9a-f]{64}")


@dataclass(frozen=True)
class VerdictEntry:
    """A verdict about an image, by digest, and a landmark, by slug. `path` is a photo of it in the other database.

    Without a landmark and a kind: the image is not a landmark.
    """

    digest: str
    landmark: str | None
    kind: VerdictKind | None
    by: str | None
    at: datetime
    path: str | None


def read_entries(source: IO[bytes], name: str) -> Iterator[VerdictEntry]:
    """Yield the verdicts in a file. `name` is its name in error messages.

    Raises:
        VerdictsInvalid: an entry is not a verdict, or the file ends early.
    """
    number = line = 0
    try:
        text = codecs.getreader("utf-8-sig")(source)
        for number, (line, document) in enumerate(_objects(text), start=1):  # noqa: B007 - for the message
            yield _entry(document)
    except UnicodeDecodeError as error:
        raise VerdictsInvalid(file=name, where="somewhere", reason="it is not UTF-8 text") from error
    except _EntryInvalid as error:
        where = f"entry {error.number or number}, line {error.line or line}"
        raise VerdictsInvalid(file=name, where=where, reason=str(error)) from error


class _EntryInvalid(ValueError):
    def __init__(self, reason: str, number: int = 0, line: int = 0) -> None:
        super().__init__(reason)
        self.number, self.line = number, line


class _Text(Protocol):
    def read(self, size: int, /) -> str: ...


def _objects(text: _Text) -> Iterator[tuple[int, object]]:
    """The JSON objects of a list, or one after another, each with the line at which it starts."""
    decoder = json.JSONDecoder()
    buffer, position, line, count = "", 0, 1, 0
    in_list = list_ended = False
    while True:
        separator = _SEPARATOR.match(buffer, position)
        end = separator.end() if separator else position
        line += buffer.count("\n", position, end)
        position = end
        first = buffer[position : position + 1]
        if first == "[" and not in_list and not count:
            in_list, position = True, position + 1
        elif first == "]" and in_list and not list_ended:
            list_ended, position = True, position + 1
        elif first and (first != "{" or list_ended):
            start = buffer[position : position + 20]
            raise _EntryInvalid(f"expected a JSON object, not {start!r}", count + 1, line)
        else:
            decoded = _decode(decoder, buffer, position) if first else None
            if decoded is not None:
                document, end = decoded
                count += 1
                yield line, document
                line += buffer.count("\n", position, end)
                position = end
                continue
            buffer, position = buffer[position:], 0
            more = text.read(READ_CHARACTERS) if len(buffer) < LARGEST_ENTRY else ""
            if not more and (buffer or (in_list and not list_ended)):
                raise _EntryInvalid("the file ends early, or is not JSON", count + 1, line)
            if not more:
                return
            buffer += more


def _decode(decoder: json.JSONDecoder, buffer: str, position: int) -> tuple[object, int] | None:
    """The object that starts at `position`, and its end; None: the buffer does not have all of it yet."""
    try:
        return decoder.raw_decode(buffer, position)
    except (json.JSONDecodeError, RecursionError):
        return None


def _entry(document: object) -> VerdictEntry:
    if not isinstance(document, dict):
        raise _EntryInvalid("it is not a JSON object")
    digest, landmark = document.get("digest"), document.get("landmark")
    if not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
        raise _EntryInvalid(f"digest is not that of an image: {digest!r}")
    is_dismissal = document.get("verdict") == NOT_A_LANDMARK
    if is_dismissal and landmark is not None:
        raise _EntryInvalid(f"{NOT_A_LANDMARK} is a verdict without a landmark, not on {landmark!r}")
    if not is_dismissal and not (isinstance(landmark, str) and landmark):
        raise _EntryInvalid(f"landmark is not a slug: {landmark!r}")
    if not is_dismissal and document.get("verdict") not in list(VerdictKind):
        kinds = f"confirmed, rejected or {NOT_A_LANDMARK}"
        raise _EntryInvalid(f"verdict is none of {kinds}: {document.get('verdict')!r}")
    by, path = document.get("by"), document.get("path")
    if not (isinstance(by, str | None) and isinstance(path, str | None)):
        raise _EntryInvalid("by and path must be text or null")
    kind = None if is_dismissal else VerdictKind(document["verdict"])
    return VerdictEntry(digest, landmark, kind, by, _time(document.get("at")), path)


def _time(text: object) -> datetime:
    try:
        time = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise _EntryInvalid(f"at is not a date with a time zone: {text!r}")
    return time
