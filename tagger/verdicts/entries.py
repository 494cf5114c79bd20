"""Verdicts as JSON that was carried here: a list, or a document per line, read entry by entry with flat memory.

Knows nothing of SQL. Whatever is not a verdict is refused with the entry and the line where it stands.
"""

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Protocol

from tagger.errors import VerdictsInvalid
from tagger.verdicts.kept import Word

PART = 1 << 16
LARGEST_ENTRY = 1 << 20
_BETWEEN = re.compile(r"[\s,]*")
_DIGEST = re.compile(r"\d+-[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """A verdict on a picture by its digest and a landmark by its slug; `path` says where somebody saw it."""

    digest: str
    landmark: str
    word: Word
    by: str | None
    at: datetime
    path: str | None


class _Text(Protocol):
    def read(self, size: int, /) -> str: ...


def read_entries(source: IO[bytes], name: str) -> Iterator[Entry]:
    """The verdicts in a file that people know as `name`.

    Raises:
        VerdictsInvalid: something in it is no verdict, or it ends early.
    """
    number = line = 0
    try:
        text = codecs.getreader("utf-8-sig")(source)
        for number, (line, document) in enumerate(_objects(text), start=1):  # noqa: B007 - for the message
            yield _entry(document)
    except UnicodeDecodeError as error:
        raise VerdictsInvalid(file=name, where="somewhere", reason="it is not UTF-8 text") from error
    except _NotAVerdict as error:
        where = f"entry {error.number or number}, line {error.line or line}"
        raise VerdictsInvalid(file=name, where=where, reason=str(error)) from error


class _NotAVerdict(ValueError):
    def __init__(self, reason: str, number: int = 0, line: int = 0) -> None:
        super().__init__(reason)
        self.number, self.line = number, line


def _objects(text: _Text) -> Iterator[tuple[int, object]]:
    """The JSON objects in a list or one after another, each with the line where it begins."""
    decoder = json.JSONDecoder()
    buffer, place, line, count = "", 0, 1, 0
    is_list = is_over = False
    while True:
        between = _BETWEEN.match(buffer, place)
        end = between.end() if between else place
        line += buffer.count("\n", place, end)
        place = end
        first = buffer[place : place + 1]
        if first == "[" and not is_list and not count:
            is_list, place = True, place + 1
        elif first == "]" and is_list and not is_over:
            is_over, place = True, place + 1
        elif first and (first != "{" or is_over):
            raise _NotAVerdict(f"there is no object: {buffer[place : place + 20]!r}", count + 1, line)
        else:
            decoded = _decoded(decoder, buffer, place) if first else None
            if decoded is not None:
                document, end = decoded
                count += 1
                yield line, document
                line += buffer.count("\n", place, end)
                place = end
                continue
            buffer, place = buffer[place:], 0
            more = text.read(PART) if len(buffer) < LARGEST_ENTRY else ""
            if not more and (buffer or (is_list and not is_over)):
                raise _NotAVerdict("it ends early, or is no JSON", count + 1, line)
            if not more:
                return
            buffer += more


def _decoded(decoder: json.JSONDecoder, buffer: str, place: int) -> tuple[object, int] | None:
    """The object that begins at `place`, and where it ends; None: not all of it is there yet."""
    try:
        return decoder.raw_decode(buffer, place)
    except (json.JSONDecodeError, RecursionError):
        return None


def _entry(document: object) -> Entry:
    if not isinstance(document, dict):
        raise _NotAVerdict("it is no object")
    digest, landmark = document.get("digest"), document.get("landmark")
    if not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
        raise _NotAVerdict(f"its digest is not one of a picture: {digest!r}")
    if not (isinstance(landmark, str) and landmark):
        raise _NotAVerdict(f"its landmark is no slug: {landmark!r}")
    if document.get("verdict") not in list(Word):
        raise _NotAVerdict(f"its verdict is neither confirmed nor rejected: {document.get('verdict')!r}")
    by, path = document.get("by"), document.get("path")
    if not (isinstance(by, str | None) and isinstance(path, str | None)):
        raise _NotAVerdict("by and path have to be text or null")
    return Entry(digest, landmark, Word(document["verdict"]), by, _moment(document.get("at")), path)


def _moment(given: object) -> datetime:
    try:
        moment = datetime.fromisoformat(given) if isinstance(given, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise _NotAVerdict(f"at is no date with a time zone: {given!r}")
    return moment
